/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - the run directory, and the page of figures that a process publishes in it.
 *
 * The writer maps the file; a reader never does: another program's file may be cut short under a
 * mapping (SIGBUS). It reads the file with pread() and takes the copy if `seq` was even and the
 * same before and after. Nothing in a copy is trusted: strings are ended, counts are cut to
 * their arrays.
 *
 * A process publishes at most one page, the first session's. A file is stale when its process is
 * gone or began after the page was made (its number was given out again); O_EXCL makes a new one
 * in its place.
 */
#include "libleap/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libleap/error.h"
#include "libleap/util/fmt.h"
#include "libleap/util/sys.h"

#define PATH_BYTES     256
#define READ_TRIES     100
#define READ_TRY_NS    1000000 /* a writer that was put to sleep inside a write: try for 0.1 s */
#define START_SLACK_NS 1000000000ull

/* The page of this process: owner is its pid, 0 when there is none. A forked child's pid
 * differs, so it may make its own. */
static struct {
	int owner;
	char path[PATH_BYTES];
} published;

static int my_pid(void)
{
	return (int)syscall(SYS_getpid);
}

static int dir_name(char *buf, size_t size)
{
	const char *dir = secure_getenv("LEAP_RUN_DIR"), *suffix = "";
	uid_t uid = geteuid();
	size_t n;

	if (!dir || !*dir) {
		suffix = "/leap";
		dir = uid == 0 && !syscall(SYS_faccessat, AT_FDCWD, "/run", W_OK) ? "/run"
		      : uid != 0 ? secure_getenv("XDG_RUNTIME_DIR")
				 : NULL;
	}
	if (dir && *dir)
		n = fmt_print(buf, size, "%s%s", dir, suffix);
	else
		n = fmt_print(buf, size, "/tmp/leap-%u", (unsigned)uid);
	if (n + 1 >= size)
		return error_set(ENAMETOOLONG, "the path of the run directory is too long; set "
					       "LEAP_RUN_DIR to a shorter one");
	return 0;
}

static int open_to_others(const char *path, const struct stat *st)
{
	return st->st_mode & 022
		       ? error_set(
				 EPERM,
				 "others can write into the directory %s (mode %o) and replace what "
				 "is in it: 'chmod go-w' it, or set LEAP_RUN_DIR",
				 path, (unsigned)st->st_mode & 07777)
		       : 0;
}

/* Makes the directory; one that exists must be ours, or another user could replace what is in
 * it. */
static int make_dir(const char *path)
{
	struct stat st;

	if (!syscall(SYS_mkdirat, AT_FDCWD, path, 0700))
		return 0;
	if (errno != EEXIST)
		return error_set(errno,
				 "cannot make the run directory %s (error %d); set LEAP_RUN_DIR to "
				 "a place that can be written",
				 path, errno);
	if (fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW))
		return error_set(errno, "cannot look at the run directory %s (error %d)", path,
				 errno);
	/* a link of our own may be followed, another user's (in /tmp) may not */
	if (S_ISLNK(st.st_mode) && st.st_uid == geteuid() && fstatat(AT_FDCWD, path, &st, 0))
		return error_set(errno, "the run directory %s is a link to nowhere (error %d)",
				 path, errno);
	if (!S_ISDIR(st.st_mode) && st.st_uid == geteuid())
		return error_set(ENOTDIR,
				 "%s should be the run directory and is a file; remove it, or set "
				 "LEAP_RUN_DIR",
				 path);
	if (st.st_uid != geteuid())
		return error_set(EPERM,
				 "the run directory %s belongs to user %u; set LEAP_RUN_DIR to one "
				 "of your own",
				 path, (unsigned)st.st_uid);
	return open_to_others(path, &st);
}

int rundir_check(const char *path)
{
	int saved_errno = errno, err;
	struct stat st;

	if (fstatat(AT_FDCWD, path, &st, 0))
		err = error_set(errno, "cannot look at the directory %s (error %d)", path, errno);
	else if (st.st_uid != geteuid() && st.st_uid != 0)
		err = error_set(EPERM, "the directory %s belongs to user %u, who is not trusted",
				path, (unsigned)st.st_uid);
	else
		err = open_to_others(path, &st);
	errno = saved_errno;
	return err;
}

int rundir_path(char *buf, size_t size, int create)
{
	int saved_errno = errno;
	int err = dir_name(buf, size);

	if (!err && create)
		err = make_dir(buf);
	errno = saved_errno;
	return err;
}

static int page_path(char *buf, size_t size, long pid, int create)
{
	char dir[PATH_BYTES - 32];
	int err = rundir_path(dir, sizeof(dir), create);

	if (!err)
		fmt_print(buf, size, "%s/%ld.stats", dir, pid);
	return err;
}

/* Opens a file of the right length whose blocks exist: a full file system must fail here, not as
 * a SIGBUS in the thread that writes figures. */
static int make_file(const char *path, size_t bytes)
{
	long r;
	int fd;

	syscall(SYS_unlinkat, AT_FDCWD, path, 0);
	fd = (int)sys_ret(syscall(SYS_openat, AT_FDCWD, path,
				  O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
	if (fd < 0)
		return fd;
	r = sys_ret(syscall(SYS_fallocate, fd, 0, (off_t)0, (off_t)bytes));
	if (r == -EOPNOTSUPP)
		r = sys_ret(syscall(SYS_ftruncate, fd, (off_t)bytes));
	if (r == 0)
		return fd;
	sys_close(fd);
	syscall(SYS_unlinkat, AT_FDCWD, path, 0);
	return (int)r;
}

static struct stats_page *map_file(const char *path)
{
	struct stats_page *page;
	int fd = make_file(path, sizeof(*page)), err = 0;

	if (fd < 0) {
		error_set(-fd, "cannot make %s (error %d)", path, -fd);
		return NULL;
	}
	page = sys_mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0, &err);
	sys_close(fd);
	if (!page) {
		syscall(SYS_unlinkat, AT_FDCWD, path, 0);
		error_set(-err, "cannot map %s (error %d)", path, -err);
	}
	return page;
}

struct stats_page *stats_page_create(void)
{
	int saved_errno = errno, pid = my_pid();
	struct stats_page *page = NULL;
	int before = __atomic_load_n(&published.owner, __ATOMIC_ACQUIRE);

	if (before == pid || !__atomic_compare_exchange_n(&published.owner, &before, pid, false,
							  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		error_set(EBUSY, "another session of this process publishes its figures already");
		return NULL;
	}
	if (!page_path(published.path, sizeof(published.path), pid, 1))
		page = map_file(published.path);
	if (page) {
		page->size = sizeof(*page);
		page->pid = (uint64_t)pid;
		page->start_ns = clock_ns();
		__atomic_store_n(&page->magic, STATS_MAGIC, __ATOMIC_RELEASE);
	} else {
		__atomic_store_n(&published.owner, 0, __ATOMIC_RELEASE);
	}
	errno = saved_errno;
	return page;
}

void stats_page_withdraw(void)
{
	int saved_errno = errno;

	if (__atomic_load_n(&published.owner, __ATOMIC_ACQUIRE) == my_pid()) {
		syscall(SYS_unlinkat, AT_FDCWD, published.path, 0);
		__atomic_store_n(&published.owner, 0, __ATOMIC_RELEASE);
	}
	errno = saved_errno;
}

void stats_page_remove(struct stats_page *page)
{
	int saved_errno = errno;

	if (!page)
		return;
	sys_munmap(page, sizeof(*page));
	stats_page_withdraw();
	errno = saved_errno;
}

/* When the process began, in ns since boot; 0 when unknown. The name in field 2 may hold
 * anything. */
static uint64_t process_start(long pid)
{
	char path[40], text[1024], *at;
	uint64_t ticks = 0;
	long fd, n;

	fmt_print(path, sizeof(path), "/proc/%ld/stat", pid);
	fd = sys_ret(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
	if (fd < 0)
		return 0;
	n = sys_ret(syscall(SYS_read, (int)fd, text, sizeof(text) - 1));
	sys_close((int)fd);
	text[n > 0 ? n : 0] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++) {
		at = strchr(at, ' ');
		if (at)
			at++;
	}
	for (; at && *at >= '0' && *at <= '9'; at++)
		ticks = ticks * 10 + (uint64_t)(*at - '0');
	return ticks * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* True if the process lives and is the one that made the page. */
static bool page_is_alive(const struct stats_page *page, long pid)
{
	struct timespec boot;
	uint64_t begun, asleep;

	if (syscall(SYS_kill, pid, 0) && errno == ESRCH)
		return false;
	begun = process_start(pid);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	asleep = (uint64_t)boot.tv_sec * 1000000000u + (uint64_t)boot.tv_nsec - clock_ns();
	return begun <= page->start_ns + asleep + START_SLACK_NS;
}

/* One try: 0, -EAGAIN while a write is under way, -EPROTO for what is not a page of ours. */
static int read_once(int fd, struct stats_page *page)
{
	uint32_t after = 0;
	long n = sys_ret(syscall(SYS_pread64, fd, page, sizeof(*page), (off_t)0));

	if (n < 0)
		return (int)n;
	if (n == sizeof(*page) && page->magic == 0)
		return -EAGAIN; /* just being made */
	if ((size_t)n < offsetof(struct stats_page, seq) || page->magic != STATS_MAGIC)
		return -EPROTO;
	if (page->size != sizeof(*page) || n != sizeof(*page))
		return -EPROTO;
	n = sys_ret(syscall(SYS_pread64, fd, &after, sizeof(after),
			    (off_t)offsetof(struct stats_page, seq)));
	if (n < 0)
		return (int)n;
	return (page->seq & 1) || page->seq != after ? -EAGAIN : 0;
}

static void end_string(char *text, size_t size)
{
	text[size - 1] = '\0';
}

/* Makes a copy safe to print, whatever was in the file. */
static void tame(struct stats_page *page)
{
	end_string(page->program, sizeof(page->program));
	end_string(page->frontend, sizeof(page->frontend));
	end_string(page->mover, sizeof(page->mover));
	end_string(page->prefetch, sizeof(page->prefetch));
	end_string(page->hits, sizeof(page->hits));
	if (page->ndonors > STATS_DONORS_MAX)
		page->ndonors = STATS_DONORS_MAX;
	for (unsigned i = 0; i < STATS_DONORS_MAX; i++)
		end_string(page->donor[i].text, sizeof(page->donor[i].text));
}

/* The file must be a plain one and belong to the user who runs the process, to us or to root. */
static int check_owner(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st))
		return error_set(errno, "cannot look at %s (error %d)", path, errno);
	if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0))
		return error_set(EPROTO, "%s was not made by a process of this user", path);
	return 0;
}

static int read_fd(int fd, const char *path, struct stats_page *page)
{
	int err = check_owner(fd, path);

	if (err)
		return err;
	for (int i = 0; i < READ_TRIES; i++) {
		err = read_once(fd, page);
		if (err != -EAGAIN)
			break;
		nanosleep(&(struct timespec){.tv_nsec = i < 10 ? 1000 : READ_TRY_NS}, NULL);
	}
	if (err == -EPROTO)
		return error_set(EPROTO, "%s is not a page of figures of this version of leap",
				 path);
	if (err == -EAGAIN)
		return error_set(
			EPROTO,
			"%s is never at rest: the process stopped in the middle of writing it",
			path);
	return err ? error_set(-err, "cannot read %s (error %d)", path, -err) : 0;
}

int stats_page_read(long pid, struct stats_page *ret_page)
{
	int saved_errno = errno, err, fd;
	struct stats_page page;
	char path[PATH_BYTES];

	err = page_path(path, sizeof(path), pid, 0);
	if (err)
		goto out;
	fd = (int)sys_ret(syscall(SYS_openat, AT_FDCWD, path,
				  O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
	if (fd < 0) {
		err = error_set(-fd,
				fd == -ENOENT
					? "process %ld does not publish figures: there is no %s"
					: "process %ld: cannot open %s",
				pid, path);
		goto out;
	}
	err = read_fd(fd, path, &page);
	sys_close(fd);
	if (!err && page.pid != (uint64_t)pid)
		err = error_set(EPROTO, "%s is the page of process %lu", path,
				(unsigned long)page.pid);
	if (!err && !page_is_alive(&page, pid))
		err = error_set(ENOENT, "process %ld is gone; it left %s behind", pid, path);
	if (!err) {
		tame(&page);
		*ret_page = page;
	}
out:
	errno = saved_errno;
	return err;
}
