/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/log.c libleap/util/fmt.c */
/*
 * Locks: exclusion under load, waiting for events, signals, and the checks of debug builds
 * (lock.c is included with them on; test_mem hammers the one without).
 */
#ifndef LEAP_DEBUG_CHECKS
#define LEAP_DEBUG_CHECKS
#endif
#include "libleap/lock.c"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <cmocka.h>

#define THREADS 8
#define ROUNDS  100000

static struct lock lock_a = LOCK_INIT(LOCK_RANK_SHARD);
static struct lock lock_b = {.rank = LOCK_RANK_SHARD, .index = 1};
static struct lock lock_low = LOCK_INIT(LOCK_RANK_SESSION);
static struct lock lock_high = LOCK_INIT(LOCK_RANK_MEM);

static struct {
	uint64_t count, mirror; /* plain on purpose: only the lock protects them */
} shared;

static void *hammer(void *arg)
{
	uintptr_t tries = 0;

	for (int i = 0; i < ROUNDS; i++) {
		if (i % 8 == 0 && lock_try(&lock_a))
			tries++;
		else
			lock_acquire(&lock_a);
		if (shared.count != shared.mirror)
			return (void *)-1;
		shared.count++;
		shared.mirror++;
		lock_release(&lock_a);
	}
	return (void *)tries;
}

static void test_exclusion(void **state)
{
	pthread_t thread[THREADS];
	void *result;

	shared.count = shared.mirror = 0;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, hammer, NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &result);
		assert_ptr_not_equal(result, (void *)-1);
	}
	assert_int_equal(shared.count, THREADS * ROUNDS);
	assert_int_equal(lock_a.word, WORD_FREE);
	assert_int_equal(held.count, 0);
}

static void test_try(void **state)
{
	assert_true(lock_try(&lock_a));
	assert_false(lock_try(&lock_a));
	lock_assert_held(&lock_a);
	lock_release(&lock_a);
	assert_true(lock_try(&lock_a));
	lock_release(&lock_a);
}

static void test_order_allowed(void **state)
{
	lock_acquire(&lock_low);
	lock_acquire(&lock_a);
	lock_acquire(&lock_b);
	lock_acquire(&lock_high);
	lock_release(&lock_a); /* releases may come in any order */
	lock_release(&lock_high);
	lock_release(&lock_low);
	lock_assert_held(&lock_b);
	lock_release(&lock_b);
	lock_acquire(&lock_b);
	assert_true(lock_try(&lock_a)); /* a try against the order cannot deadlock */
	lock_release(&lock_a);
	lock_release(&lock_b);
	assert_int_equal(held.count, 0);
}

static void test_init_of_held_lock(void **state)
{
	struct lock lock = LOCK_INIT(LOCK_RANK_SLAB);

	lock_acquire(&lock);
	lock_init(&lock, LOCK_RANK_STORE, 7); /* as in a forked child */
	assert_int_equal(held.count, 0);
	assert_int_equal(lock.rank, LOCK_RANK_STORE);
	assert_int_equal(lock.index, 7);
	lock_acquire(&lock);
	lock_release(&lock);
}

static struct {
	uint32_t event;
	unsigned produced, consumed;
	bool stop;
} queue;

static void *consumer(void *arg)
{
	uintptr_t mine = 0;

	lock_acquire(&lock_a);
	for (;;) {
		uint32_t seen = __atomic_load_n(&queue.event, __ATOMIC_ACQUIRE);

		if (queue.produced > queue.consumed) {
			queue.consumed++;
			mine++;
			continue;
		}
		if (queue.stop)
			break;
		lock_wait(&lock_a, &queue.event, seen, -1);
		lock_assert_held(&lock_a);
	}
	lock_release(&lock_a);
	return (void *)mine;
}

/* No wake-up is lost: all consumers come home. */
static void test_wait_and_signal(void **state)
{
	pthread_t thread[4];
	uintptr_t sum = 0;
	void *mine;

	memset(&queue, 0, sizeof(queue));
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, consumer, NULL), 0);
	for (int i = 0; i < 20000; i++) {
		lock_acquire(&lock_a);
		queue.produced++;
		lock_release(&lock_a);
		lock_signal(&queue.event);
	}
	lock_acquire(&lock_a);
	queue.stop = true;
	lock_signal(&queue.event);
	lock_release(&lock_a);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &mine);
		sum += (uintptr_t)mine;
	}
	assert_int_equal(sum, 20000);
	assert_int_equal(queue.event, 20001);
}

static void test_wait_times_out(void **state)
{
	uint32_t event = 5;
	uint64_t start, took;

	lock_acquire(&lock_a);
	start = clock_ns();
	lock_wait(&lock_a, &event, 5, 20000000);
	took = clock_ns() - start;
	assert_true(took >= 20000000 && took < 5000000000ull);
	start = clock_ns();
	lock_wait(&lock_a, &event, 4, -1); /* differs already */
	lock_wait(&lock_a, &event, 5, 0);
	assert_true(clock_ns() - start < 5000000000ull);
	lock_assert_held(&lock_a);
	lock_release(&lock_a);
}

static void *hold_briefly(void *arg)
{
	lock_acquire(&lock_b);
	__atomic_store_n((int *)arg, 1, __ATOMIC_RELEASE);
	usleep(30000);
	lock_release(&lock_b);
	return NULL;
}

/* A waiter sleeps: it uses no CPU time to speak of while another holds the lock; errno stays. */
static void test_contended_acquire_sleeps(void **state)
{
	struct timespec before, after;
	pthread_t thread;
	int ready = 0;

	assert_int_equal(pthread_create(&thread, NULL, hold_briefly, &ready), 0);
	while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		usleep(100);
	errno = EXDEV;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
	lock_acquire(&lock_b);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
	lock_release(&lock_b);
	assert_int_equal(errno, EXDEV);
	assert_true((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec <
		    10000000);
	pthread_join(thread, NULL);
}

static volatile sig_atomic_t signals;

static void on_signal(int signal)
{
	signals++;
}

static void test_app_enter_blocks_signals(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}, old;
	struct lock_app saved;
	sigset_t now;

	sigaction(SIGUSR1, &action, &old);
	lock_app_enter(&saved);
	assert_false(sigismember(&saved.mask, SIGUSR1));
	raise(SIGUSR1);
	assert_int_equal(signals, 0);
	sigprocmask(SIG_SETMASK, NULL, &now);
	assert_true(sigismember(&now, SIGTERM) && sigismember(&now, SIGRTMAX));
	lock_app_leave(&saved);
	usleep(1); /* thread sanitizer delivers at the next call that it knows */
	assert_int_equal(signals, 1);
	sigprocmask(SIG_SETMASK, NULL, &now);
	assert_false(sigismember(&now, SIGUSR1) || sigismember(&now, SIGTERM));
	sigaction(SIGUSR1, &old, NULL);
}

/* Runs crime in a child, which must die by SIGABRT after a line that holds text. */
static void expect_death(void (*crime)(void), const char *text)
{
	struct rlimit no_core = {0, 0};
	char line[1024];
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		log_set_fd(fds[1]);
		crime();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fds[1]);
	n = read(fds[0], line, sizeof(line) - 1);
	close(fds[0]);
	line[n > 0 ? n : 0] = '\0';
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	if (!strstr(line, text))
		fail_msg("'%s' is not in '%s'", text, line);
}

static void rank_crime(void)
{
	lock_acquire(&lock_high);
	lock_acquire(&lock_low);
}

static void index_crime(void)
{
	lock_acquire(&lock_b);
	lock_acquire(&lock_a);
}

static void equal_crime(void)
{
	struct lock twin = LOCK_INIT(LOCK_RANK_SHARD);

	lock_acquire(&lock_a);
	lock_acquire(&twin);
}

static void twice_crime(void)
{
	lock_acquire(&lock_a);
	lock_acquire(&lock_a);
}

static void release_crime(void)
{
	lock_release(&lock_a);
}

static void assert_crime(void)
{
	lock_acquire(&lock_a);
	lock_assert_held(&lock_b);
}

static void *take_b(void *arg)
{
	lock_acquire(&lock_b);
	return NULL;
}

/* Held, but by another thread. */
static void other_thread_crime(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, take_b, NULL);
	pthread_join(thread, NULL);
	lock_assert_held(&lock_b);
}

static void wait_crime(void)
{
	uint32_t event = 0;

	lock_wait(&lock_a, &event, 0, 1000);
}

static void test_violations_die(void **state)
{
	char text[128];

	snprintf(text, sizeof(text),
		 "lock order violated: lock of rank %d index 0 wanted while one of rank %d",
		 LOCK_RANK_SESSION, LOCK_RANK_MEM);
	expect_death(rank_crime, text);
	snprintf(text, sizeof(text), "lock of rank %d index 0 wanted while one of rank %d index 1",
		 LOCK_RANK_SHARD, LOCK_RANK_SHARD);
	expect_death(index_crime, text);
	expect_death(equal_crime, "lock order violated");
	expect_death(twice_crime, "(the same lock)");
	expect_death(release_crime, "does not hold it");
	expect_death(assert_crime, "should be held here");
	expect_death(other_thread_crime, "should be held here");
	expect_death(wait_crime, "does not hold it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exclusion),
		cmocka_unit_test(test_try),
		cmocka_unit_test(test_order_allowed),
		cmocka_unit_test(test_init_of_held_lock),
		cmocka_unit_test(test_wait_and_signal),
		cmocka_unit_test(test_wait_times_out),
		cmocka_unit_test(test_contended_acquire_sleeps),
		cmocka_unit_test(test_app_enter_blocks_signals),
		cmocka_unit_test(test_violations_die),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
