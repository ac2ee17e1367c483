"""python -m xlift"""

from xlift.cli import main

main()
