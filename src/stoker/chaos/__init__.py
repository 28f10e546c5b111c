"""A day of chaos: real load on servers of our own while workers, servers and the database are killed and paused, the disk is full and
the receiver of webhooks is broken; then what became of every job that was accepted.

    faults     which fault strikes when, from a seed; pure
    report     what became of jobs and webhooks; pure
    day        the whole: set up, strike, settle, report
    stage      carries out strikes
    load       submits jobs, looks for their ends
    servers, databases, cluster, receiver   what is struck
    worker/    the program that runs the jobs

Called by `stoker chaos`. It knows Stoker from outside only: the command line, the environment, HTTP, and signals.
"""
