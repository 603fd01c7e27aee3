/* SPDX-License-Identifier: Apache-2.0 */
/* local_storage.c - a library that fork_libc opens. */
static __thread char storage[4096] = "initial";

__attribute__((visibility("default"))) char *local_storage(void);

char *local_storage(void)
{
	return storage;
}
