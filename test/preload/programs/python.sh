# SPDX-License-Identifier: Apache-2.0
# python3: objects, threads, processes, json, regular expressions
command -v python3 >/dev/null || { echo skipped; exit; }
exec python3 -c '
import hashlib, json, multiprocessing, os, re, subprocess, threading, zlib

data = [{"n": i, "s": "text %d" % (i * 7919 % 100003), "l": list(range(i % 7))} for i in range(60000)]
text = json.dumps(data)
print(len(text), hashlib.sha256(text.encode()).hexdigest())
back = json.loads(text)
print(back == data, sum(d["n"] * len(d["l"]) for d in back))
words = re.findall(r"text (\d+)", text)
print(len(words), sorted(words)[1000:1003])
packed = zlib.compress(text.encode(), 6)
print(len(packed), zlib.decompress(packed) == text.encode())
totals = [0] * 4
def work(i):
    for d in data[i::4]:
        totals[i] += len(d["s"]) + sum(d["l"])
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(totals)
pid = os.fork()
if not pid:
    os._exit(sum(len(d["s"]) for d in data) % 251)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
with multiprocessing.get_context("fork").Pool(3) as pool:
    print(sum(pool.map(len, [d["s"] for d in data], chunksize=1000)))
print(subprocess.run(["sh", "-c", "echo from a shell"], capture_output=True, text=True).stdout.strip())
import gc
del data, back, words
print(gc.collect() >= 0)
'
