/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - failure injection on the whole runtime.
 *
 * A *script* drives a session through everything that the public interface offers, in a process of its own, while
 * the Nth call of one kind fails. Whatever it was, the script must find right data, or the error of an API call
 * with a sentence, or SIGBUS with a sentence on stderr; and it must come to its end.
 */
#ifndef TEST_FAULT_H
#define TEST_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum inject_kind {
	INJECT_NOTHING,
	INJECT_TRANSPORT, /* the first donor is told by its URI */
	INJECT_MEMORY,    /* mem.h */
	INJECT_IOCTL,     /* userfaultfd */
};

enum ioctl_mode {
	IOCTL_INSTEAD, /* the call fails and does nothing */
	IOCTL_FIRST,   /* the first page is done, but it fails: somebody else was faster */
	IOCTL_PART,    /* half of it is done, then EAGAIN */
};

struct injection {
	const char *name;
	enum inject_kind kind;
	const char *spec; /* TRANSPORT: faulty's, with %u for N; IOCTL: of what fails besides */
	bool linger;      /* wait for what the keeper does once a second */
	unsigned long request; /* IOCTL; 0 is both COPY and MOVE */
	int error;
	enum ioctl_mode mode;
	unsigned length; /* so many calls in a row */
};

/* What the script's process tells; in memory shared with the one that started it. */
struct outcome {
	unsigned fired;      /* the injection happened */
	unsigned errors;     /* API calls that failed */
	unsigned lost;       /* touches that raised SIGBUS */
	bool opened, closed; /* the session */
	const char *step;    /* where it is */
	char wrong[256];     /* "" or what must not be */
};

struct script {
	const char *options; /* "mover=wp frontend=busy" */
	const char *donor;   /* URI of the first donor; NULL: loop: */
	const struct injection *injection;
	unsigned nth;
};

/* Runs in a process of its own; never returns (or dies by a signal). */
void script_run(const struct script *script, struct outcome *out) __attribute__((noreturn));

/* The next call from now is the first. */
void inject_arm(const struct injection *injection, unsigned nth, bool loud);
/* Did it happen? Ends it for INJECT_MEMORY and INJECT_IOCTL. */
bool inject_fired(void);

extern const struct injection injections[];
extern const unsigned injections_count;

#endif
