/* SPDX-License-Identifier: Apache-2.0 */
/* gnuplot.c - see gnuplot.h. */
#include "tools/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"

int gnuplot_check(const char *png)
{
	int fd = open(png, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	if (fd >= 0)
		unlink(png);
	else if (errno == EEXIST)
		fd = open(png, O_WRONLY | O_CREAT | O_NOCTTY | O_CLOEXEC, 0666);
	if (fd < 0)
		return error_set(errno, "%s: cannot be written (%s)", png, strerror(errno));
	close(fd);
	return 0;
}

/* In single quotes, where a quote is written twice. */
void gnuplot_text(FILE *script, const char *text)
{
	fputc('\'', script);
	for (; *text; text++) {
		if (*text == '\'')
			fputc('\'', script);
		fputc((unsigned char)*text < ' ' ? '?' : *text, script);
	}
	fputc('\'', script);
}

int gnuplot_open(const char *png, unsigned width, unsigned height, FILE **ret_script)
{
	int err = gnuplot_check(png);
	FILE *script;

	if (err)
		return err;
	signal(SIGPIPE, SIG_IGN); /* it may not be there */
	script = popen("command -v gnuplot >/dev/null || exit 127; exec gnuplot -d", "we");
	if (!script)
		return error_set(errno, "gnuplot cannot be started (%s)", strerror(errno));
	fprintf(script, "set terminal pngcairo size %u,%u noenhanced\nset output ", width, height);
	gnuplot_text(script, png);
	fprintf(script, "\n");
	*ret_script = script;
	return 0;
}

int gnuplot_close(FILE *script, const char *png)
{
	int status = pclose(script);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return error_set(ENOENT,
				 "gnuplot is not there, which draws the picture; install it "
				 "(Debian: gnuplot-nox)");
	if (status)
		return error_set(EIO, "gnuplot could not draw %s (see above)", png);
	return 0;
}
