/* SPDX-License-Identifier: Apache-2.0 */
/* static.c - a statically linked program, which nothing can be preloaded into. */
int main(void)
{
	return 0;
}
