/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.c - a three-state futex mutex, and the checks of the order in which locks are taken.
 *
 * word: 0 free; 1 held, nobody sleeps; 2 held, somebody may sleep. A release that finds 2 wakes
 * one sleeper; that one takes the lock as 2 again, because it cannot know whether others sleep.
 *
 * errno is kept by every function here: locks are taken inside free(), which must not change it.
 *
 * Debug builds (LEAP_DEBUG_CHECKS) keep the locks that a thread holds in a small array of its
 * own and die with a message when one is taken out of order, taken twice, or released by a
 * thread that does not hold it. Ranks only matter for a lock that is waited for: lock_try()
 * cannot deadlock and is exempt.
 */
#include "libleap/lock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/log.h"
#include "libleap/util/sys.h"

#define SPIN_PAUSES 100

enum { WORD_FREE = 0, WORD_HELD = 1, WORD_WAITED = 2 };

#ifdef LEAP_DEBUG_CHECKS
#define HELD_MAX 64

struct held_locks {
	unsigned count;
	const struct lock *lock[HELD_MAX];
};

static __thread __attribute__((tls_model("initial-exec"))) struct held_locks held;

static int held_find(const struct lock *lock)
{
	for (unsigned i = held.count; i > 0; i--) {
		if (held.lock[i - 1] == lock)
			return (int)i - 1;
	}
	return -1;
}

static void held_drop(int i)
{
	held.count--;
	memmove(&held.lock[i], &held.lock[i + 1],
		(held.count - (unsigned)i) * sizeof(held.lock[0]));
}

static void check_before_acquire(const struct lock *lock)
{
	for (unsigned i = 0; i < held.count; i++) {
		const struct lock *h = held.lock[i];

		if (h->rank < lock->rank || (h->rank == lock->rank && h->index < lock->index))
			continue;
		log_error(
			"lock order violated: lock of rank %u index %u wanted while one of rank %u "
			"index %u is held%s",
			lock->rank, lock->index, h->rank, h->index,
			h == lock ? " (the same lock)" : "");
		abort();
	}
}

static void note_acquired(const struct lock *lock)
{
	if (held.count == HELD_MAX) {
		log_error("a thread holds more than %d locks", HELD_MAX);
		abort();
	}
	held.lock[held.count++] = lock;
}

static void note_released(const struct lock *lock)
{
	int i = held_find(lock);

	if (i < 0) {
		log_error("lock of rank %u index %u released by a thread that does not hold it",
			  lock->rank, lock->index);
		abort();
	}
	held_drop(i);
}

static void note_init(const struct lock *lock)
{
	int i = held_find(lock);

	if (i >= 0)
		held_drop(i);
}

void lock_assert_held(const struct lock *lock)
{
	if (held_find(lock) >= 0)
		return;
	log_error("lock of rank %u index %u should be held here and is not", lock->rank,
		  lock->index);
	abort();
}
#else
static inline void check_before_acquire(const struct lock *lock)
{
}

static inline void note_acquired(const struct lock *lock)
{
}

static inline void note_released(const struct lock *lock)
{
}

static inline void note_init(const struct lock *lock)
{
}

void lock_assert_held(const struct lock *lock)
{
}
#endif

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static bool take(struct lock *lock, uint32_t state)
{
	uint32_t expected = WORD_FREE;

	return __atomic_compare_exchange_n(&lock->word, &expected, state, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

/* Spins a little while the holder runs alone, then sleeps until the word was seen free. */
static void acquire_slow(struct lock *lock)
{
	int saved_errno = errno;

	for (int i = 0; i < SPIN_PAUSES; i++) {
		uint32_t word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);

		if (word == WORD_FREE && take(lock, WORD_HELD))
			return;
		if (word == WORD_WAITED)
			break;
		pause_cpu();
	}
	while (__atomic_exchange_n(&lock->word, WORD_WAITED, __ATOMIC_ACQUIRE) != WORD_FREE)
		sys_futex_wait(&lock->word, WORD_WAITED, -1);
	errno = saved_errno;
}

void lock_init(struct lock *lock, enum lock_rank rank, unsigned index)
{
	note_init(lock);
	lock->rank = (uint16_t)rank;
	lock->index = (uint16_t)index;
	__atomic_store_n(&lock->word, WORD_FREE, __ATOMIC_RELEASE);
}

void lock_acquire(struct lock *lock)
{
	check_before_acquire(lock);
	if (!take(lock, WORD_HELD))
		acquire_slow(lock);
	note_acquired(lock);
}

bool lock_try(struct lock *lock)
{
	if (!take(lock, WORD_HELD))
		return false;
	note_acquired(lock);
	return true;
}

void lock_release(struct lock *lock)
{
	int saved_errno;

	note_released(lock);
	if (__atomic_exchange_n(&lock->word, WORD_FREE, __ATOMIC_RELEASE) != WORD_WAITED)
		return;
	saved_errno = errno;
	sys_futex_wake(&lock->word, 1);
	errno = saved_errno;
}

void lock_wait(struct lock *lock, const uint32_t *event, uint32_t seen, int64_t timeout_ns)
{
	uint64_t deadline = timeout_ns < 0 ? 0 : clock_ns() + (uint64_t)timeout_ns;
	int64_t left = timeout_ns;
	int saved_errno = errno;

	lock_release(lock);
	while (__atomic_load_n(event, __ATOMIC_ACQUIRE) == seen) {
		if (timeout_ns >= 0) {
			left = (int64_t)(deadline - clock_ns());
			if (left <= 0)
				break;
		}
		sys_futex_wait(event, seen, left);
	}
	errno = saved_errno;
	lock_acquire(lock);
}

void lock_signal(uint32_t *event)
{
	int saved_errno = errno;

	__atomic_fetch_add(event, 1, __ATOMIC_RELEASE);
	sys_futex_wake(event, INT32_MAX);
	errno = saved_errno;
}

const struct lock_app_ops *lock_app_ops;
/* How many pairs this thread is inside of. */
static __thread __attribute__((tls_model("initial-exec"))) unsigned app_depth;

/* Raw calls: the program's own pthread_sigmask() may be replaced, and glibc's leaves its internal
 * signals open, whose handlers may touch stacks that are managed. */
void lock_app_enter(struct lock_app *app)
{
	const struct lock_app_ops *ops = __atomic_load_n(&lock_app_ops, __ATOMIC_ACQUIRE);
	sigset_t all;

	memset(&all, 0xff, sizeof(all));
	memset(app, 0, sizeof(*app));
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &app->mask, _NSIG / 8);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &app->cancel);
	if (app_depth++ == 0 && ops)
		ops->enter(app);
}

/* A thread that may be cancelled at any point ends in the last call. */
void lock_app_leave(struct lock_app *app)
{
	if (--app_depth == 0 && app->kept)
		lock_app_ops->leave(app);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &app->mask, NULL, _NSIG / 8);
	pthread_setcancelstate(app->cancel, NULL);
}
