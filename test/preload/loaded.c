/* SPDX-License-Identifier: Apache-2.0 */
/* loaded.c - libraries opened at run time, whose tables and thread-local storage lie in managed memory. */
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>

#include "test.h"

static void *use(void *arg)
{
	const char *(*version)(void);
	void *z = dlopen("libz.so.1", RTLD_NOW | (arg ? RTLD_GLOBAL : 0));
	double (*gamma_fn)(double);
	void *m = dlopen("libm.so.6", RTLD_LAZY);

	CHECK(m);
	gamma_fn = (double (*)(double))dlsym(m, "tgamma");
	CHECK(gamma_fn);
	CHECK(fabs(gamma_fn(5.0) - 24.0) < 1e-9);
	if (z) {
		version = (const char *(*)(void))dlsym(z, "zlibVersion");
		CHECK(version && version()[0]);
	}
	pressure();
	CHECK(fabs(gamma_fn(6.0) - 120.0) < 1e-9);
	if (z)
		dlclose(z);
	dlclose(m);
	return NULL;
}

int main(void)
{
	pthread_t thread[4];

	for (int round = 0; round < 10; round++) {
		for (size_t i = 0; i < 4; i++)
			CHECK(!pthread_create(&thread[i], NULL, use, (void *)(i & 1)));
		for (int i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
		CHECK(!dlopen("libnothing-of-that-name.so", RTLD_NOW));
		CHECK(dlerror());
	}
	puts("loaded");
	return 0;
}
