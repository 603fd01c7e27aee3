/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.c - see program.h.
 *
 * LD_PRELOAD works on dynamically linked programs of this machine's kind and C library, and the
 * dynamic linker ignores it (paths, at least) for programs that gain rights when they start. All
 * of that can be read from the file, so it is said before the program runs without Leap unnoticed.
 */
#include "tools/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "libleap/error.h"
#include "tools/tool.h"

#define HEAD_BYTES   4096
#define SCRIPTS_DEEP 4 /* as many interpreters of interpreters as the kernel follows */

/* What is there under this name: 0, EXIT_NOT_FOUND or EXIT_CANNOT_RUN. */
static int look(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return errno == ENOENT || errno == ENOTDIR ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
	if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EACCES;
		return EXIT_CANNOT_RUN;
	}
	return access(path, X_OK) ? EXIT_CANNOT_RUN : 0;
}

static int cannot_run(const char *path)
{
	int code = errno;

	if (code == EISDIR)
		error_set(code, "cannot run %s: it is a directory", path);
	else if (code == EACCES)
		error_set(code, "cannot run %s: it is not executable for this user; 'chmod +x %s'",
			  path, path);
	else
		error_set(code, "cannot run %s: %s", path, strerror(code));
	return EXIT_CANNOT_RUN;
}

/* A name without '/' is looked for in $PATH; one that is there but may not be run is remembered. */
static int search(const char *name, char path[PATH_MAX])
{
	const char *list = getenv("PATH"), *at;
	char refused[PATH_MAX] = "";
	int code = 0;

	if (!list)
		list = "/bin:/usr/bin";
	for (at = list;; at++) {
		int n = (int)strcspn(at, ":");

		if (n + strlen(name) + 2 < PATH_MAX) {
			snprintf(path, PATH_MAX, "%.*s%s%s", n, at, n ? "/" : "", name);
			switch (look(path)) {
			case 0:
				return 0;
			case EXIT_CANNOT_RUN:
				if (!refused[0] && errno != EISDIR) {
					strcpy(refused, path);
					code = errno;
				}
			}
		}
		at += n;
		if (!*at)
			break;
	}
	errno = code;
	if (refused[0])
		return cannot_run(refused);
	error_set(ENOENT, "there is no program '%s' in the directories of PATH", name);
	return EXIT_NOT_FOUND;
}

static int find_one(const char *name, char path[PATH_MAX])
{
	if (!*name) {
		error_set(ENOENT, "the program's name is empty");
		return EXIT_NOT_FOUND;
	}
	if (!strchr(name, '/'))
		return search(name, path);
	if (strlen(name) >= PATH_MAX) {
		error_set(ENAMETOOLONG, "the program's path is too long");
		return EXIT_CANNOT_RUN;
	}
	strcpy(path, name);
	switch (look(name)) {
	case 0:
		return 0;
	case EXIT_NOT_FOUND:
		error_set(ENOENT, "there is no program %s", name);
		return EXIT_NOT_FOUND;
	}
	return cannot_run(name);
}

/* Bytes read from the start of the file, NUL-terminated; 0 when it cannot be read (it may still be
 * executed). */
static size_t read_head(const char *path, char head[HEAD_BYTES + 1])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : pread(fd, head, HEAD_BYTES, 0);

	if (fd >= 0)
		close(fd);
	head[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

/* Splits "#!INTERPRETER [ARGUMENT]" in place. */
static bool script_line(char *head, char **ret_interpreter, char **ret_argument)
{
	char *at, *end;

	if (strncmp(head, "#!", 2))
		return false;
	head[strcspn(head, "\n")] = '\0';
	at = head + 2 + strspn(head + 2, " \t");
	*ret_interpreter = at;
	at += strcspn(at, " \t");
	if (*at)
		*at++ = '\0';
	at += strspn(at, " \t");
	for (end = at + strlen(at); end > at && strchr(" \t\r", end[-1]); end--)
		end[-1] = '\0';
	*ret_argument = at;
	return **ret_interpreter != '\0';
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_shell(const char *interpreter)
{
	static const char *const shells[] = {"sh", "bash", "dash", "zsh", "ksh", "ash", "env"};

	for (unsigned i = 0; i < sizeof(shells) / sizeof(shells[0]); i++)
		if (!strcmp(base_of(interpreter), shells[i]))
			return true;
	return false;
}

static void warn_of_shell(struct program *program, const char *script, const char *interpreter,
			  bool follow_exec)
{
	if (is_shell(interpreter) && !follow_exec)
		snprintf(program->warning, sizeof(program->warning),
			 "%.200s is a script for %.40s: the programs that it starts run without "
			 "Leap, unless --follow-exec is given",
			 script, base_of(interpreter));
}

/* If the file is an "env NAME" script: NAME and its fixed arguments as words, malloc()ed. */
static unsigned env_words(const char *path, char *words[], unsigned max)
{
	char head[HEAD_BYTES + 1], *interpreter, *argument, *copy, *save = NULL;
	unsigned n = 0;

	if (!read_head(path, head) || !script_line(head, &interpreter, &argument) ||
	    strcmp(base_of(interpreter), "env"))
		return 0;
	/* one argument is one word, but for -S, which splits; quotes and variables are env's own */
	if (!strncmp(argument, "-S", 2))
		argument += 2 + strspn(argument + 2, " \t");
	else if (strpbrk(argument, " \t"))
		return 0;
	if (!*argument || *argument == '-' || strpbrk(argument, "=\"'\\$"))
		return 0;
	copy = strdup(argument);
	for (char *w = copy ? strtok_r(copy, " \t", &save) : NULL; w && n < max;
	     w = strtok_r(NULL, " \t", &save))
		words[n++] = w;
	return n;
}

/* Puts the words and the script's path in front of list's arguments (list[0] goes). */
static char **put_in_front(char **list, char *const *words, unsigned n, char *script)
{
	unsigned have = 0;

	while (list[have])
		have++;
	list = realloc(list, (have + n + 1) * sizeof(*list));
	if (!list)
		return NULL;
	memmove(list + n, list, (have + 1) * sizeof(*list));
	memcpy(list, words, n * sizeof(*words));
	list[n] = script;
	return list;
}

static char **copy_list(char **argv)
{
	unsigned n = 1;
	char **list;

	while (argv[n - 1])
		n++;
	list = malloc(n * sizeof(*list));
	return list ? memcpy(list, argv, n * sizeof(*list)) : NULL;
}

/* Finds argv[0], through env(1). */
static int find_through_env(char **argv, bool follow_exec, struct program *program)
{
	char *words[16], **list = copy_list(argv), *script;
	int err = find_one(argv[0], program->path);

	for (int deep = 0; !err && list && deep < SCRIPTS_DEEP; deep++) {
		unsigned n = env_words(program->path, words, sizeof(words) / sizeof(words[0]));

		if (!n)
			break;
		script = strdup(program->path);
		list = script ? put_in_front(list, words, n, script) : NULL;
		if (!list)
			break;
		err = find_one(list[0], program->path);
		if (!err)
			warn_of_shell(program, script, list[0], follow_exec);
	}
	if (!list) {
		error_set(ENOMEM, "no memory");
		return EXIT_CANNOT_RUN;
	}
	program->argv = list;
	return err;
}

/* Will the kernel give the program more rights than we have (AT_SECURE)? */
static const char *privileged(const char *path)
{
	struct statvfs vfs;
	struct stat st;

	if (stat(path, &st) || (!statvfs(path, &vfs) && vfs.f_flag & ST_NOSUID))
		return NULL;
	if (st.st_mode & S_ISUID && st.st_uid != getuid())
		return "it is set-uid";
	if (st.st_mode & S_ISGID && st.st_mode & S_IXGRP && st.st_gid != getgid())
		return "it is set-gid";
	if (getuid() && getxattr(path, "security.capability", NULL, 0) > 0)
		return "it has file capabilities";
	return NULL;
}

/* PT_INTERP of the ELF image in head, NULL when there is none or it lies beyond. */
static const char *elf_interpreter(const char *head, size_t n, bool *ret_known)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	memcpy(&eh, head, sizeof(eh));
	*ret_known = false;
	if (eh.e_phentsize != sizeof(ph) || eh.e_phoff > n ||
	    (n - eh.e_phoff) / sizeof(ph) < eh.e_phnum)
		return NULL;
	*ret_known = true;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		memcpy(&ph, head + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_INTERP)
			continue;
		*ret_known = ph.p_offset < n && memchr(head + ph.p_offset, '\0', n - ph.p_offset);
		return *ret_known ? head + ph.p_offset : NULL;
	}
	return NULL;
}

/* The dynamic linker that this very program was started by. */
static const char *own_interpreter(void)
{
	const Elf64_Phdr *ph = (const Elf64_Phdr *)getauxval(AT_PHDR);
	unsigned long n = getauxval(AT_PHNUM);
	uintptr_t base = 0;

	for (unsigned long i = 0; ph && i < n; i++)
		if (ph[i].p_type == PT_PHDR)
			base = (uintptr_t)ph - ph[i].p_vaddr;
	for (unsigned long i = 0; ph && i < n; i++)
		if (ph[i].p_type == PT_INTERP)
			return (const char *)(base + ph[i].p_vaddr);
	return NULL;
}

static int refuse(const char *path, const char *why, const char *remedy)
{
	error_set(ENOEXEC, "cannot manage the memory of %s: %s; %s", path, why, remedy);
	return EXIT_CANNOT_RUN;
}

static int check_elf(const char *path, const char *head, size_t n)
{
	const char *interpreter, *own = own_interpreter(), *why = privileged(path);
	Elf64_Ehdr eh, mine = {.e_machine = EM_X86_64};
	bool known;

	if (why)
		return refuse(path, why,
			      "the system ignores LD_PRELOAD for such programs: run it as "
			      "the user who owns it, or run a copy without those rights");
	memcpy(&eh, head, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != mine.e_machine)
		return refuse(path, "it is not a 64-bit x86 program",
			      "run a build of it for this machine");
	interpreter = elf_interpreter(head, n, &known);
	if (!known)
		return 0; /* headers elsewhere in the file: unusual, and the dynamic linker will tell */
	if (!interpreter)
		return refuse(
			path, "it is statically linked",
			"the system cannot preload a library into it: use a dynamically linked "
			"build, or link it with libleap");
	if (own && strcmp(base_of(own), base_of(interpreter)))
		return refuse(
			path, "it uses another C library than leap",
			"use a build for this system's C library, or build leap with that one");
	return 0;
}

static int check_file(struct program *program, bool follow_exec)
{
	const char *path = program->path;
	char head[HEAD_BYTES + 1], file[PATH_MAX], *interpreter, *argument;
	size_t n;

	snprintf(file, sizeof(file), "%s", path);
	for (int deep = 0; deep < SCRIPTS_DEEP; deep++) {
		n = read_head(file, head);
		if (n >= sizeof(Elf64_Ehdr) && !memcmp(head, ELFMAG, SELFMAG))
			return check_elf(file, head, n);
		if (!n)
			return 0; /* may be executed, not read */
		if (!script_line(head, &interpreter, &argument))
			interpreter = "/bin/sh"; /* as execvp(3) does */
		warn_of_shell(program, path, interpreter, follow_exec);
		if (look(interpreter)) {
			error_set(ENOENT, "cannot run %s: its interpreter %s is missing", file,
				  interpreter);
			return EXIT_CANNOT_RUN;
		}
		snprintf(file, sizeof(file), "%s", interpreter);
	}
	error_set(ELOOP, "cannot run %s: its interpreter is a script of a script of a script",
		  path);
	return EXIT_CANNOT_RUN;
}

int program_prepare(char **argv, bool follow_exec, struct program *ret_program)
{
	int err;

	memset(ret_program, 0, sizeof(*ret_program));
	err = find_through_env(argv, follow_exec, ret_program);
	return err ? err : check_file(ret_program, follow_exec);
}
