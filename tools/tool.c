/* SPDX-License-Identifier: Apache-2.0 */
/* tool.c - see tool.h. */
#include "tools/tool.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libleap/error.h"

static const char *command = "";

void tool_set_command(const char *name)
{
	command = name;
}

static void say(const char *kind, const char *format, va_list ap)
{
	fflush(stdout);
	fprintf(stderr, "leap%s%s: %s", *command ? " " : "", command, kind);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
}

int tool_fail(int status, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say("", format, ap);
	va_end(ap);
	return status;
}

int tool_fail_last(int status)
{
	return tool_fail(status, "%s", error_last());
}

void tool_warn(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say("warning: ", format, ap);
	va_end(ap);
}

/* The directory of this program; -errno when /proc is not there. */
static int own_dir(char *buf, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);
	char *slash;

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	slash = strrchr(buf, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	return 0;
}

/* The first of dirs (ended by NULL; those without '/' in front are relative to this program) that
 * has the file. */
static int find(const char *name, const char *const *dirs, char *buf, size_t size)
{
	char own[PATH_MAX] = "", path[3 * PATH_MAX], real[PATH_MAX];
	int err = own_dir(own, sizeof(own));

	for (; *dirs; dirs++) {
		if (**dirs == '/')
			snprintf(path, sizeof(path), "%s/%s", *dirs, name);
		else if (!err)
			snprintf(path, sizeof(path), "%s/%s/%s", own, *dirs, name);
		else
			continue;
		if (access(path, R_OK) || !realpath(path, real) || strlen(real) >= size)
			continue;
		strcpy(buf, real);
		return 0;
	}
	return error_set(ENOENT,
			 "cannot find %s, neither near this program (%s) nor where it is installed "
			 "(%s); build or install all of leap",
			 name, own, LEAP_INSTALL_LIBDIR);
}

int tool_find_preload(char *buf, size_t size)
{
	static const char *const dirs[] = {"../lib", "../" LEAP_INSTALL_LIBDIR_NAME,
					   LEAP_INSTALL_LIBDIR, NULL};

	return find("libleap_preload.so", dirs, buf, size);
}

int tool_find_donor(char *buf, size_t size)
{
	static const char *const dirs[] = {".", LEAP_INSTALL_BINDIR, NULL};

	return find("leap-donor", dirs, buf, size);
}
