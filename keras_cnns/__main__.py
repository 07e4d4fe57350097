"""`python -m keras_cnns` is `keras-cnns`."""

import sys

from keras_cnns.cli import main

sys.exit(main())
