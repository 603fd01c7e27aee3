# SPDX-License-Identifier: Apache-2.0
# git: commits, packs, history, diffs (threads, zlib, many processes, mmap of files)
command -v git >/dev/null || { echo skipped; exit; }
set -e
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q -b main repo
cd repo
for i in 1 2 3 4 5 6; do
	for f in a b c; do seq $i 7 $((i * 3000)) | sed "s/^/$f /" >$f; done
	seq 1 $((i * 20000)) >large
	git add -A
	git commit -q -m "change $i"
done
git log --stat --oneline
git gc -q --aggressive
git fsck --full 2>&1 | grep -v '^Checking' || true
git diff HEAD~3 HEAD | md5sum
git blame large | tail -2
git archive HEAD | tar tf -
cd .. && git clone -q repo copy 2>/dev/null && cd copy && git log --oneline | wc -l
