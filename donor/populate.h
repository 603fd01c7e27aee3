/* SPDX-License-Identifier: Apache-2.0 */
/*
 * populate.h - taking the memory of granted slabs, behind the clients' backs.
 *
 * What was promised is taken at once, so that the donor does not lend what the system has not got; but
 * a thread of its own does it, so that neither the grant nor another client's read waits for it. A slab that is
 * given back meanwhile is left alone.
 */
#ifndef DONOR_POPULATE_H
#define DONOR_POPULATE_H

struct slab;
struct store;

/* Starts the thread. 0 or -errno. It runs until the process ends. */
int populate_start(struct store *store);
/* Takes the slab's memory soon. No reference: a slab whose last one goes meanwhile is off the books at once, and
 * the thread disposes of what is left (slab_populated()). */
void populate_add(struct slab *slab);

#endif
