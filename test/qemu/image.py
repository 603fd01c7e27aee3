# SPDX-License-Identifier: Apache-2.0
"""Builds what the emulated machine boots: Debian's 6.1 kernel, unpacked and not installed, and an initramfs.

The initramfs has two layers, archives one behind the other. The base holds what packages brought: programs with
their libraries, the kernel's modules; it is made once for a set of package versions. The tree holds what
this build made, under the same paths as here, so that all that knows paths finds them there.
"""
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# Modules by what is asked for, in order; those they need come along. rxe's link is refused without crc32_generic.
MODULES = ["dummy", "crc32_generic", "ib_uverbs", "rdma_rxe", "rdma_ucm"]
PROGRAMS = ["busybox", "modprobe", "python3", "ip", "rdma", "ibv_devinfo", "rping", "ib_read_lat", "sort", "sqlite3", "redis-server",
            "ldd", "env", "xz"]
# Opened at run time, so that no list of needed libraries names them.
DLOPENED = ["libgcc_s.so.1", "libibverbs/librxe-rdmav*.so"]
PACKAGES = ["qemu-system-x86", "busybox-static", "kmod", "cpio", "iproute2", "rdma-core", "ibverbs-providers", "ibverbs-utils",
            "rdmacm-utils", "perftest", "coreutils", "sqlite3", "redis-server", "libc6", "libpython3-stdlib"]
PYTHON_WITHOUT = ("test", "idlelib", "tkinter", "lib2to3", "ensurepip", "distutils", "pydoc_data", "turtledemo", "config-*",
                  "dist-packages", "sqlite3", "asyncio", "unittest")


class Failure(Exception):
    """The image cannot be made; the text says why and what to do."""


def say(*command, **more):
    result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            stdin=subprocess.DEVNULL, check=False, **more)
    if result.returncode:
        raise Failure("%s: status %d: %s" % (" ".join(map(str, command)), result.returncode, result.stderr.strip()))
    return result.stdout


# --- the kernel -----------------------------------------------------------------------------------------------

def kernel(work):
    """Directory of the unpacked kernel package, and its version. Asks the network only the first time."""
    top = work / "kernel"
    found = sorted(top.glob("boot/vmlinuz-6.1.*"))
    if not found:
        depends = say("apt-cache", "depends", "--important", "linux-image-amd64")
        match = re.search(r"linux-image-6\.1\.\S+-amd64", depends)
        if not match:
            raise Failure("linux-image-amd64 of the package lists is no 6.1 kernel (Debian 12 has it; apt-get update?)")
        print("# fetching %s" % match.group(0), flush=True)
        fetched = work / "fetched"
        shutil.rmtree(fetched, ignore_errors=True)
        fetched.mkdir(parents=True)
        say("apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", match.group(0), cwd=fetched)
        part = work / "kernel.part"
        shutil.rmtree(part, ignore_errors=True)
        say("dpkg-deb", "-x", next(fetched.glob("*.deb")), part)
        version = next(part.glob("boot/vmlinuz-6.1.*")).name.split("-", 1)[1]
        say("/sbin/depmod", "-b", part, version)
        part.rename(top)
        shutil.rmtree(fetched)
        found = sorted(top.glob("boot/vmlinuz-6.1.*"))
    return top, found[-1].name.split("-", 1)[1]


def module_files(top, version):
    files = []
    for name in MODULES:
        shown = say("/sbin/modprobe", "-d", top, "-S", version, "--show-depends", name)
        for line in shown.splitlines():
            words = line.split()
            if words[:1] == ["insmod"] and words[1] not in files:
                files.append(words[1])
    return files


def put_modules(layer, top, version):
    """Under the paths that modprobe knows; the names in order in /modules."""
    to = layer.top / "usr/lib/modules" / version
    for file in module_files(top, version):
        place = layer.top / "usr" / pathlib.Path(file).relative_to(top)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(top / "lib/modules" / version / name, to / name)
    say("/sbin/depmod", "-b", layer.top, version)
    (layer.top / "modules").write_text("\n".join(MODULES) + "\n")


# --- layers ---------------------------------------------------------------------------------------------------

class Layer:
    """A directory that becomes an archive."""

    def __init__(self, top):
        self.top = top
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir(parents=True)

    def path(self, name):
        """Where an absolute path of this machine stands in the layer; /lib and its like are links into /usr."""
        name = pathlib.Path(name)
        real = name.parent.resolve() / name.name
        return self.top / str(real).lstrip("/")

    def put(self, source, name=None):
        to = self.path(name or source)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, to)
        return to

    def tree(self, source, without=()):
        shutil.copytree(source, self.path(source), symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(*without))

    def libraries(self, programs):
        """Puts the shared libraries that the programs name, and those that these name."""
        for program in programs:
            result = subprocess.run(["ldd", str(program)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                    check=False)
            for library in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", result.stdout, re.MULTILINE):
                if not self.path(library).exists():
                    self.put(library)

    def archive(self, to):
        names = subprocess.run(["find", ".", "-print0"], cwd=self.top, stdout=subprocess.PIPE, check=True).stdout
        part = to.with_suffix(".part")
        with open(part, "wb") as out:
            subprocess.run(["cpio", "--null", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=self.top, input=names, stdout=out,
                           check=True)
        part.rename(to)
        shutil.rmtree(self.top)


def base_version(version):
    """Changes when a package or what is taken from it does."""
    text = version + say("dpkg-query", "-W", "-f=${Package} ${Version}\n", *PACKAGES)
    return hashlib.sha256(text.encode() + pathlib.Path(__file__).read_bytes()).hexdigest()[:16]


def library_directory():
    return pathlib.Path("/usr/lib") / say("/usr/bin/python3", "-c", "import sysconfig; print(sysconfig.get_config_var("
                                          "'MULTIARCH'))").strip()


def base(work):
    """The archive of packages, made unless it is there."""
    top, version = kernel(work)
    archive = work / ("base-%s.cpio" % base_version(version))
    if archive.exists():
        return archive, top / "boot" / ("vmlinuz-" + version)
    print("# making the base image of Linux %s" % version, flush=True)
    for old in work.glob("base-*.cpio"):
        old.unlink()
    layer = Layer(work / "base")
    for link in ("bin", "sbin", "lib", "lib64"):
        (layer.top / "usr" / link).mkdir(parents=True)
        (layer.top / link).symlink_to("usr/" + link)
    for directory in ("proc", "sys", "dev", "tmp", "run", "root", "etc"):
        (layer.top / directory).mkdir()
    put_modules(layer, top, version)
    programs = [find_program(name) for name in PROGRAMS]
    for name, program in zip(PROGRAMS, programs):
        layer.put(program, "/usr/bin/" + name)
    for applet in say("busybox", "--list").split():
        to = layer.top / "usr" / "bin" / applet
        if not to.exists():
            to.symlink_to("busybox")
    library = library_directory()
    opened = [file for pattern in DLOPENED for file in library.glob(pattern)]
    for file in opened:
        layer.put(file)
    stdlib = pathlib.Path(say("/usr/bin/python3", "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))").strip())
    layer.tree(stdlib, PYTHON_WITHOUT)
    layer.put("/etc/libibverbs.d/rxe.driver")
    layer.libraries(programs + opened + list((stdlib / "lib-dynload").glob("*.so")))
    (layer.top / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (layer.top / "etc" / "group").write_text("root:x:0:\n")
    (layer.top / "etc" / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    layer.archive(archive)
    return archive, top / "boot" / ("vmlinuz-" + version)


def find_program(name):
    path = "/usr/bin:/usr/sbin:/bin:/sbin"
    found = shutil.which(name, path=path)
    if not found:
        raise Failure("%s is missing: scripts/deps qemu test" % name)
    return found


def tree(work, build, extra):
    """The archive of what was built, of the tests, and of extra files of this machine."""
    layer = Layer(work / "tree")
    wanted = [*(build / "bin").iterdir(), *(build / "lib").glob("*.so*"), *(build / "test" / "bin").iterdir(),
              *(build / "test" / "programs").glob("rss-sample")]
    programs = [f for f in wanted if f.is_file()]
    for file in programs:
        to = layer.put(file)
        subprocess.run(["strip", "--strip-debug", str(to)], check=False)
    layer.libraries(programs)
    for directory in ("test/disturb", "test/preload", "test/programs", "test/qemu"):
        layer.tree(ROOT / directory, ("__pycache__", "*.c", "*.h"))
    for file in [*extra, ROOT / "README.md", ROOT / "man/leap-donor.8"]:
        layer.put(file)
    shutil.copy(HERE / "init", layer.top / "init")
    (layer.top / "init").chmod(0o755)
    (layer.top / "root").mkdir()
    (layer.top / "root" / "where").write_text("ROOT=%s\nBUILD=%s\n" % (ROOT, build))
    archive = work / "tree.cpio"
    layer.archive(archive)
    return archive


def join(parts, to):
    with open(to, "wb") as out:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, out, 1 << 20)
    return to


def initramfs(work, build, extra):
    """(kernel image, initramfs)."""
    work.mkdir(parents=True, exist_ok=True)
    archive, image = base(work)
    return image, join([archive, tree(work, build, extra)], work / "initramfs")


def usable(build):
    for name in ("bin/leap", "bin/leap-donor", "test/bin/test_contract", "test/bin/stress"):
        if not os.access(build / name, os.X_OK):
            raise Failure("%s is missing: build it first (cmake --build %s; the tests need cmocka)" % (build / name, build))
