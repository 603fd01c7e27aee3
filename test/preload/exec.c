/* SPDX-License-Identifier: Apache-2.0 */
/* exec.c - what a program started by this one sees: the first call starts the second, that one reports. */
#include <sys/wait.h>

#include "test.h"

extern char **environ;

static void report(const char *how)
{
	const char *preload = getenv("LD_PRELOAD");

	printf("%s: preload '%s', threads %d, argument kept\n", how, preload ? preload : "none",
	       count_threads());
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const char *const how[] = {"execv", "execvp", "execve", "fexecve", "execl"};

	if (argc == 3) {
		report(argv[2]);
		return 0;
	}
	for (int i = 0; i < 5; i++) {
		/* arguments and environment lie in memory that was pushed out */
		char *args[] = {strdup(argv[0]), strdup("x"), strdup(how[i]), NULL};
		int status;
		pid_t pid = fork();

		if (!pid) {
			pressure();
			if (i == 0)
				execv("/proc/self/exe", args);
			else if (i == 1)
				execvp(argv[0], args);
			else if (i == 2)
				execve(argv[0], args, environ);
			else if (i == 3)
				fexecve(0, args, environ), execv(argv[0], args);
			else
				execl(argv[0], args[0], args[1], args[2], (char *)NULL);
			_exit(1);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	return 0;
}
