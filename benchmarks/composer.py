"""mesh's workflows: the client of benchmarks.workflows, a program of its own.

Usage: composer.py group|chord|chain|countdown COUNT. Prints its figures as one line of JSON.
"""

import sys

from canvas_work import measure
from tasks import add, app, size

import mesh

if __name__ == "__main__":
    measure(mesh, add, size, app.submit_many, sys.argv[1], int(sys.argv[2]))
