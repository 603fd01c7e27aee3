/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - what can be known to fail before a program starts: one function a cause.
 *
 * All return 0, or -errno with the sentence set (cause and remedy). Warnings go to stderr.
 */
#ifndef LEAP_TOOLS_CHECK_H
#define LEAP_TOOLS_CHECK_H

#include "libleap/config.h"

/* Options that do not fit each other, unknown policies, a log file that cannot be written. */
int check_options(const struct config *config);
/* userfaultfd: may this user serve all faults, system calls' too, and does the kernel have what
 * the mover needs? */
int check_userfaultfd(const struct config *config);
/* Descriptors, address space for the managed region. */
int check_limits(const struct config *config);
/* Each donor is called once: is it there, does it speak our version, has it memory left? */
int check_donors(const struct config *config);

#endif
