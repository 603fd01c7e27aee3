/* SPDX-License-Identifier: Apache-2.0 */
/* hidden.h - a system call that only the kernel sees. */
#ifndef TEST_PRELOAD_HIDDEN_H
#define TEST_PRELOAD_HIDDEN_H

static inline long hidden(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return r;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long r __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(r) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return r;
#else
#error "how does this machine make a system call?"
#endif
}

#endif
