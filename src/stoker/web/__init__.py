"""Who serves HTTP: two job dialects and the worker protocol over one core, and the management API.

Only this package knows HTTP and JSON. Handlers are short: read the request, call one operation, render its answer.
"""
