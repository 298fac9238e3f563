"""A WhatsApp on loopback, for tests with the real neonize.

`open_whatsapp()` (server.py) serves in the test's own Trio loop. `open_paired()` (clients.py) gives a client of the
real library in a process of its own, paired, connected and with named contacts, in under a second. Another program
that uses neonize runs against the server by `python -m tests.whatsapp.child PORT MODULE ...`, with the variables of
`Whatsapp.environment()`; what the library knows of the real service is written over in its memory first (patch.py),
so no test can reach it. Nothing outside of the tests imports anything of this.

`open_scene()` (stories.py) has the whole pipeline on it: NATS, a worker, the neonize engine, and people who are to get
a story. Processes that the product starts with no setting for a server on loopback have an entry here that gives them
one: worker.py, command.py (`storycast pair`).

What is real: the websocket, Noise with its certificates, the binary XML, pairing by QR code and by typed code, logins,
queries, media that are uploaded encrypted, Signal sessions and sender keys. Every contact has keys of its own, and
the ledger holds what each could read. What is not: contacts get their names from the client itself, where a real
account's phone sends them by app state sync; nobody has a hidden address (LID) but the account; the server gives each
device the same one-time prekey again; nobody sends receipts.

`python -m tests.whatsapp.bench` measures what posting costs; `storycast bench whatsapp` runs it.

What goes wrong is scripted: `whatsapp.world.faults.add(point, fault, times)`.
"""
