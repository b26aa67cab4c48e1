"""What a server says about itself to the system at its start is in force."""

import resource
import subprocess
import sys

import pytest

ROUNDS, IMAGES, IMAGE_BYTES = 50, 7, 527_000
PAGES = ROUNDS * IMAGES * IMAGE_BYTES // resource.getpagesize()
PROGRAM = f"""
import resource
from pacs_server.service.processes.resources import keep_freed_memory
{{call}}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def read(): # the images that are read ahead together, and forgotten together
    [b"1" * {IMAGE_BYTES} for _ in range({IMAGES})]
for _ in range(10):
    read()
before = faults()
for _ in range({ROUNDS}):
    read()
print(faults() - before)
"""


def faults(call: str) -> int:
    program = PROGRAM.format(call=call)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def test_the_memory_of_one_image_is_used_for_the_next() -> None:
    if faults("") < PAGES / 2:
        pytest.skip("the allocator of this system keeps it anyway")
    assert faults("keep_freed_memory()") < PAGES / 20
