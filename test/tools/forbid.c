/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forbid.c - runs a program that may not use userfaultfd, as a container's seccomp filter has it.
 *
 * usage: forbid ERRNO PROGRAM [ARGUMENT...]: userfaultfd(2) fails with ERRNO (1 EPERM, 38 ENOSYS),
 * opening anything for reading and writing (the device) with EACCES.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIELD(name)           BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, name))
#define EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define RETURN(value)         BPF_STMT(BPF_RET | BPF_K, value)

int main(int argc, char **argv)
{
	unsigned code = argc > 2 ? (unsigned)atoi(argv[1]) : 0;
	struct sock_filter filter[] = {
		FIELD(nr),
		EQUAL(SYS_userfaultfd, 0, 1),
		RETURN(SECCOMP_RET_ERRNO | code),
		EQUAL(SYS_openat, 0, 3),
		FIELD(args[2]),
		EQUAL(O_RDWR | O_CLOEXEC, 0, 1),
		RETURN(SECCOMP_RET_ERRNO | EACCES),
		RETURN(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	if (!code)
		return 2;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("forbid: seccomp");
		return 77;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
