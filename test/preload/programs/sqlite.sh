# SPDX-License-Identifier: Apache-2.0
# sqlite3 in memory: tables, indexes, joins, a file
command -v sqlite3 >/dev/null || { echo skipped; exit; }
sqlite3 :memory: <<'SQL'
create table t(a integer primary key, b text, c real);
with recursive n(i) as (values(1) union all select i + 1 from n where i < 150000)
	insert into t select i, 'text ' || (i * 7919 % 100003), i * 0.5 from n;
create index tb on t(b);
create table u as select a % 1000 as k, count(*) as n, sum(c) as s from t group by k;
select count(*), sum(length(b)), sum(c) from t;
select * from t order by b limit 5;
select t.b, u.n, u.s from t join u on t.a = u.k order by u.s desc, t.b limit 5;
delete from t where a % 3 = 0;
vacuum;
update t set b = b || '!' where a % 2 = 0;
select count(*), max(b), min(b) from t;
pragma integrity_check;
vacuum into 'copy.db';
SQL
sqlite3 copy.db 'select count(*), sum(a), max(b) from t; pragma integrity_check'
