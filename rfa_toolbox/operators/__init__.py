"""The engine of all encoders: what operators do to positions, whatever format they were read from.

A reader lowers its format to a plain :mod:`.record` of operators, with the names of
:mod:`.vocabulary`. One table of :mod:`.rules` says what each operator does, one walk (the
:mod:`.trail`) turns the record into steps, :mod:`.grouping` tells which of them make one node, and
:mod:`.nodes` makes the nodes. Nothing here knows a framework or a format.
"""
