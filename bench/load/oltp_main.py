# SPDX-License-Identifier: Apache-2.0
"""oltp_main.py WAREHOUSES CUSTOMERS TRANSACTIONS OUTPUT: an OLTP mix in the manner of TPC-C on SQLite in memory.

Not TPC-C: its tables and its shares of transactions are, roughly (45 new orders, 43 payments, 12 order states in a hundred); its
terminals, rules of timing and sizes are not. Items and customers are chosen with its skew (NURand)."""
import pathlib
import random
import sqlite3
import sys

ITEMS = 100000
DISTRICTS = 10
SCHEMA = """
create table item(id integer primary key, name text, price integer, data text);
create table stock(warehouse integer, item integer, quantity integer, ytd integer, orders integer, info text, data text,
    primary key(warehouse, item)) without rowid;
create table district(warehouse integer, id integer, next_order integer, ytd integer, primary key(warehouse, id)) without rowid;
create table customer(warehouse integer, district integer, id integer, last text, balance integer, payments integer, data text,
    primary key(warehouse, district, id)) without rowid;
create table orders(warehouse integer, district integer, id integer, customer integer, lines integer,
    primary key(warehouse, district, id)) without rowid;
create table order_line(warehouse integer, district integer, orders integer, number integer, item integer, quantity integer, amount integer,
    info text, primary key(warehouse, district, orders, number)) without rowid;
create table history(warehouse integer, district integer, customer integer, amount integer, data text);
create index order_of on orders(warehouse, district, customer);
"""


class Mix:
    def __init__(self, warehouses, customers, seed):
        self.random = random.Random(seed)
        self.warehouses, self.customers = warehouses, customers
        self.db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=64)
        self.run = self.db.execute
        self.db.executescript(SCHEMA)
        self.load()

    def text(self, low, high):
        return "%0*x" % (self.random.randint(low, high), self.random.getrandbits(96))

    def skewed(self, spread, high):
        return (self.random.randrange(spread + 1) | self.random.randrange(high)) % high

    def load(self):
        many = self.db.executemany
        self.run("begin")
        many("insert into item values(?, ?, ?, ?)",
             ((i, self.text(14, 24), self.random.randint(100, 10000), self.text(26, 50)) for i in range(ITEMS)))
        for w in range(self.warehouses):
            many("insert into stock values(?, ?, ?, 0, 0, ?, ?)",
                 ((w, i, self.random.randint(10, 100), self.text(24, 24), self.text(26, 50)) for i in range(ITEMS)))
            for d in range(DISTRICTS):
                self.run("insert into district values(?, ?, 1, 0)", (w, d))
                many("insert into customer values(?, ?, ?, ?, 0, 0, ?)",
                     ((w, d, c, self.text(8, 16), self.text(300, 500)) for c in range(self.customers)))
        self.run("commit")

    def where(self):
        return self.random.randrange(self.warehouses), self.random.randrange(DISTRICTS)

    def new_order(self):
        w, d = self.where()
        customer, lines = self.skewed(1023, self.customers), self.random.randint(5, 15)
        (order,) = self.run("select next_order from district where warehouse = ? and id = ?", (w, d)).fetchone()
        self.run("update district set next_order = next_order + 1 where warehouse = ? and id = ?", (w, d))
        self.run("insert into orders values(?, ?, ?, ?, ?)", (w, d, order, customer, lines))
        for number in range(lines):
            item, quantity = self.skewed(8191, ITEMS), self.random.randint(1, 10)
            (price,) = self.run("select price from item where id = ?", (item,)).fetchone()
            (stock, info) = self.run("select quantity, info from stock where warehouse = ? and item = ?",
                                     (w, item)).fetchone()
            stock = stock - quantity if stock >= quantity + 10 else stock - quantity + 91
            self.run("update stock set quantity = ?, ytd = ytd + ?, orders = orders + 1 where warehouse = ? and item = ?",
                     (stock, quantity, w, item))
            self.run("insert into order_line values(?, ?, ?, ?, ?, ?, ?, ?)",
                     (w, d, order, number, item, quantity, price * quantity, info))

    def payment(self):
        w, d = self.where()
        customer, amount = self.skewed(1023, self.customers), self.random.randint(100, 500000)
        self.run("update district set ytd = ytd + ? where warehouse = ? and id = ?", (amount, w, d))
        self.run("update customer set balance = balance - ?, payments = payments + 1 "
                 "where warehouse = ? and district = ? and id = ?", (amount, w, d, customer))
        self.run("insert into history values(?, ?, ?, ?, ?)", (w, d, customer, amount, self.text(12, 24)))

    def order_state(self):
        w, d = self.where()
        customer = self.skewed(1023, self.customers)
        last = self.run("select id from orders where warehouse = ? and district = ? and customer = ? order by id desc limit 1",
                        (w, d, customer)).fetchone()
        if last:
            self.run("select item, quantity, amount from order_line where warehouse = ? and district = ? and orders = ?",
                     (w, d, last[0])).fetchall()

    def transact(self):
        at = self.random.randrange(100)
        self.run("begin")
        (self.new_order if at < 45 else self.payment if at < 88 else self.order_state)()
        self.run("commit")

    def digest(self):
        """What must be the same however the memory was kept."""
        return [self.run(query).fetchone() for query in (
            "select sum(ytd), sum(next_order) from district", "select sum(balance), sum(payments) from customer",
            "select sum(quantity), sum(ytd), sum(orders) from stock",
            "select count(*), sum(amount), sum(length(info)) from order_line", "select count(*), sum(length(data)) from history")]


def main(warehouses, customers, transactions, output):
    mix = Mix(warehouses, customers, 1)
    for _ in range(transactions):
        mix.transact()
    pathlib.Path(output).write_text("\n".join(map(str, mix.digest())) + "\n")


main(*map(int, sys.argv[1:4]), sys.argv[4])
