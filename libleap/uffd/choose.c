/* SPDX-License-Identifier: Apache-2.0 */
/* choose.c - which mover a session takes; see mover.h. */
#include <errno.h>

#include "libleap/error.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"

int mover_choose(const struct config *config, struct mover_choice *ret_choice)
{
	struct mover_choice c = {0};
	bool move;
	int err = uffd_probe(config->uffd_features, &c.features);

	if (err)
		return err;
	move = c.features & UFFD_FEATURE_MOVE;
	c.has_wp = c.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	if (config->mover == MOVER_MOVE && !move)
		return error_set(ENOSYS, "mover=move needs UFFDIO_MOVE (Linux 6.8, better 6.14): "
					 "use mover=auto");
	if (!move && !c.has_wp)
		return error_set(ENOSYS, "this kernel's userfaultfd has neither UFFDIO_MOVE nor "
					 "write-protection: Linux 5.7 or later is needed");
	if (config->mover == MOVER_WP && !c.has_wp)
		return error_set(ENOSYS,
				 "mover=wp needs write-protection (Linux 5.7): use mover=auto");
	c.can_move = move && config->mover != MOVER_WP;
	*ret_choice = c;
	return 0;
}
