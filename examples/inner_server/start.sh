#!/bin/sh
# As many published images do: the server in the background, the handler in the foreground, and SIGTERM passed on to neither.
trap '' TERM
python3 -u server.py &
python3 -u handler.py
