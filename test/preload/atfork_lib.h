/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_PRELOAD_ATFORK_LIB_H
#define TEST_PRELOAD_ATFORK_LIB_H

/* Ends the worker; how many times it has found something wrong. */
__attribute__((visibility("default"))) int atfork_stop(void);

#endif
