/* SPDX-License-Identifier: Apache-2.0 */
/* recorder_file.h - the file that option trace names: for the recorder, and for `leap run` to try beforehand. */
#ifndef LEAP_RECORDER_FILE_H
#define LEAP_RECORDER_FILE_H

/* Creates or empties the file and locks it against other recorders; "%p" in its name is the process's id. 0, or -errno
 * with the sentence set. */
int recorder_create(const char *pattern, int *ret_fd);

#endif
