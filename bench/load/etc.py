# SPDX-License-Identifier: Apache-2.0
"""memcached under a load like Facebook's ETC pool.

Sizes of values and the share of sets are those of Atikoglu et al., "Workload Analysis of a Large-Scale Key-Value Store", SIGMETRICS
2012: generalized Pareto with scale 214.476 and shape 0.348238, 30 gets a set. Keys have 30 bytes (its mean), and are chosen by Zipf's law with
exponent 0.99."""
import hashlib
import random
import sys

from common import Failure
import memcached

SCALE, SHAPE = 214.476, 0.348238
VALUE_MOST = 64 << 10
GETS_PER_SET = 30
BATCH = 64
SIZES = {"tiny": (40000, 20000), "small": (500000, 150000), "full": (2000000, 3000000)}


def value_bytes(index):
    u = int.from_bytes(hashlib.blake2b(b"size%d" % index, digest_size=6).digest(), "big") / 2 ** 48
    return min(int(SCALE / SHAPE * ((1 - u) ** -SHAPE - 1)) + 1, VALUE_MOST)


def entry(index, version=0):
    key = b"etc:%026d" % index
    return key, hashlib.shake_128(b"%s %d" % (key, version)).digest(value_bytes(index))


class Program(memcached.Program):
    name = "etc"

    def __init__(self, settings):
        super().__init__(settings)
        self.keys, self.requests = settings.pick(SIZES)
        self.items = self.keys

    def describe(self):
        return "memcached: %d keys with ETC's sizes, then %d requests by Zipf's law, %d gets a set" % (
            self.keys, self.requests, GETS_PER_SET)

    def choose(self, source):
        """Ranks by Zipf's law, spread over all keys."""
        import numpy
        weights = numpy.cumsum(1.0 / numpy.arange(1, self.keys + 1) ** 0.99)
        ranks = numpy.searchsorted(weights, source.random_sample(self.requests) * weights[-1])
        return (ranks * 7919 + 13) % self.keys

    def fill_and_check(self, client, deadline):
        import numpy
        for first in range(0, self.keys, BATCH):
            client.put_many([entry(i) for i in range(first, min(first + BATCH, self.keys))])
            self.check_time(deadline)
        version, digest = {}, hashlib.sha256()
        chosen = self.choose(numpy.random.RandomState(1)).tolist()
        coin = random.Random(1)
        for first in range(0, len(chosen), BATCH):
            gets, sets = [], {}
            for index in chosen[first:first + BATCH]:
                if coin.randrange(GETS_PER_SET + 1):
                    gets.append(index)
                else:
                    sets[index] = version.get(index, 0) + 1
            gets = list(dict.fromkeys(gets))
            for index, value in zip(gets, client.get_many([entry(i)[0] for i in gets]) if gets else []):
                if value != entry(index, version.get(index, 0))[1]:
                    raise Failure("wrong value of key %d" % index)
                digest.update(value)
            version.update(sets)
            if sets:
                client.put_many([entry(i, v) for i, v in sets.items()])
            self.check_time(deadline)
        return digest.hexdigest()

    def command(self):
        memory = sum(value_bytes(i) + 120 for i in range(0, self.keys, 97)) * 97 * 3 // 2 // (1 << 20) + 64
        return ["memcached", "-l", "127.0.0.1", "-p", str(self.free_port()), "-U", "0", "-u", "root", "-t", "2", "-M", "-m",
                str(memory)]


if __name__ == "__main__":
    sys.exit("etc.py is run by bench/programs")
