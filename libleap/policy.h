/* SPDX-License-Identifier: Apache-2.0 */
/* policy.h - the policy that option prefetch names, with the future that it is to replay. */
#ifndef LEAP_POLICY_H
#define LEAP_POLICY_H

struct prefetcher_ops;
struct replay_future;

/* "majority", ..., or "replay:FILE": reads a trace (leap-trace(5)), whose memory is kept for ever, since histories point
 * into it; *ret_future is NULL with other policies. 0, or -errno with the sentence set. No malloc. */
int policy_open(const char *name, const struct prefetcher_ops **ret_ops,
		const struct replay_future **ret_future);

#endif
