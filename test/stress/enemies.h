/* SPDX-License-Identifier: Apache-2.0 */
/* enemies.h - what stress sets against its session: a disturber, donors that die, pins. */
#ifndef TEST_STRESS_ENEMIES_H
#define TEST_STRESS_ENEMIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts test/disturb/disturb.py for this process; returns when it is at work. 0 or -errno. */
int disturb_start(unsigned seconds);
/* Ends it; it says what it did. */
void disturb_stop(void);
/* An advice that changes no content: these pages go cold, out to swap, into huge pages, may be merged. */
void disturb_advise(uint64_t random, void *addr, size_t bytes);

/* Starts n donors for "tcp" or "shm"; writes their URIs. 0 or -errno. */
int donors_start(const char *transport, unsigned n, char *uris, size_t size);
/* Kills one but the first, and starts it anew at its address at a later call. Called ten times a second by the thread that started them. */
void donors_torment(uint64_t random);
unsigned donors_killed(void);
/* Anonymous memory of a process, resident and in swap. What a donor lends through shm is not. */
long process_kib(int pid);
long donors_kib(void);
void donors_stop(void);

/* Pages first to first + n of the run are registered with an io_uring, written by the kernel, and let go, a turn at a
 * time, by one thread. tell: the session must be told (mover wp, front end inline). 0, or -errno where io_uring is not
 * allowed. */
int pins_open(size_t first, size_t n, bool tell);
/* False: the kernel did not do what it was asked to. */
bool pins_turn(uint64_t random);
/* Pages that the kernel wrote so. */
uint64_t pins_written(void);
void pins_close(void);

#endif
