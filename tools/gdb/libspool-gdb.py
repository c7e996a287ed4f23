# SPDX-License-Identifier: LGPL-3.0-or-later
"""Channels of spool in gdb.

Prints what a spool_chan * and a spool_select * are, and adds

    spool channels [EXPRESSION ...]   all channels that can be found, or those of these expressions
    spool selects [EXPRESSION ...]    the same for selects, with their cases
    spool waits                       which thread waits for what

gdb loads this by itself where the shared library is installed and its folder is among those that gdb trusts
("info auto-load python-scripts"); otherwise: source libspool-gdb.py. Only memory is read, so a core file will do. The
library needs debug information (-g), the program's own variables that of the program.
"""

import re
import struct

import gdb

GET, PUT = 0, 1
RING, CHAIN, MEET, SOURCE = range(4)
MANY = 1 << 20  # slots of an unbounded channel that are looked at; cases of a select


class NoTypes(gdb.GdbError):
    pass


def lookup(name):
    try:
        found = gdb.lookup_type(name)
        if found.code != gdb.TYPE_CODE_STRUCT or found.fields():
            return found
    except gdb.error:
        pass
    raise NoTypes('there is no debug information of libspool here (no ' + name + '): build the library with -g, as its '
                  'CFLAGS have it, or install its debug symbols')


def at(address, name):
    return gdb.Value(int(address)).cast(lookup(name).pointer())


def is_pointer_to(kind, *names):
    kind = kind.strip_typedefs()
    if kind.code != gdb.TYPE_CODE_PTR:
        return False
    return kind.target().strip_typedefs().unqualified().tag in names


def words(address, count, size):
    """The first word of each of so many entries of that size."""
    raw = bytes(gdb.selected_inferior().read_memory(int(address), count * size))
    return [w[0] for w in struct.iter_unpack('<Q%dx' % (size - 8), raw)]


# What lies in a slot, as lib/ring.c and lib/segment.h have it.


def slots_are_wide(elem_size):
    """Whether an element lies beside its slot's word: where 16 bytes can be swapped, which needs this type."""
    try:
        gdb.lookup_type('spool__u128')
    except gdb.error:
        return False
    return elem_size <= 8


def settle(ring, end, used):
    """A position and the word of its slot, found on the way from a hint: see settle in lib/ring.c."""
    unit, capacity = int(ring['unit']), int(ring['capacity'])
    size = 16 if slots_are_wide(int(ring['elem_size'])) else 8
    first = int(ring.address) + ring.type.sizeof
    pos, whole = int(end), 1 << 64
    while True:
        index, turn = pos % unit // 4, pos // unit * unit
        word = words(first + index * size, 1, size)[0]
        following = word // unit * unit + (unit if word & used else 0)
        if following % whole == turn:
            return turn // unit * capacity + index, word
        pos = (pos - turn + following - unit) % whole
        index = pos % unit // 4
        pos = (pos + 4 if index + 1 < capacity else pos // unit * unit + unit) % whole


def ring_state(ring):
    tail, word = settle(ring, ring['tail'], 1)
    head = settle(ring, ring['head'], 0)[0]
    return '%d of %d' % (tail - head, int(ring['capacity'])), bool(word & 2)


def chain_state(chain):
    first = int(chain.address) + chain.type.sizeof
    segment, count, seen = chain['head'], 0, 0
    while int(segment) not in (0, first) or seen == 0:
        slots = int(segment['slots'])
        found = words(int(segment) + segment.dereference().type.sizeof, slots, 8)
        count += sum(w >= 4 for w in found)
        if 1 in found:
            return str(count), True
        seen += slots
        if seen > MANY:
            return 'over %d' % count, False
        segment = segment['next']
    return str(count), int(segment) == first


class Lane:
    """One direction of a channel."""

    def __init__(self, lane):
        self.lane = lane
        self.address = int(lane)
        self.flavour = int(lane['flavour'])

    def kind(self):
        if self.flavour != SOURCE:
            return ('bounded', 'unbounded', 'rendezvous')[self.flavour]
        ops = self.lane['source']['ops'].format_string(symbols=True)
        name = ops.split('<')[-1].split('_ops')[0] if '_ops>' in ops else 'kernel'
        if name == 'timer':
            return 'timer'
        return {'signal': 'signals', 'uring': 'io_uring'}.get(name, name)

    def state(self):
        """Its length, for people, and whether it is closed."""
        if self.flavour == RING:
            return ring_state(self.lane['ring'])
        if self.flavour == CHAIN:
            return chain_state(self.lane['chain'])
        if self.flavour == MEET:
            return '-', bool(int(self.lane['meet']['is_closed']))
        return '?', bool(self.lane['source']['is_shut'])

    def offers(self, side):
        offer = self.lane['meet']['sides'][side]['first']
        while int(offer):
            yield offer
            offer = offer['next']

    def waiting(self, side):
        """How many threads and selects wait on a side, for people."""
        if self.flavour == SOURCE and side == GET:
            return 'in the kernel'
        if self.flavour == MEET:
            threads = sum(1 for o in self.offers(side) if not int(o['party']))
            selects = sum(1 for o in self.offers(side) if int(o['party']))
        else:
            gate = self.lane['gates'][side]
            t, s = int(gate['threads']), int(gate['selects'])
            threads = (t & 0x7fffffff) + (t >> 32 & 0x3fffff)
            selects = (s & 0xfffff) + (s >> 20 & 0xfffff)
        said = [plural(n, what) for n, what in ((threads, 'thread'), (selects, 'select')) if n]
        return ', '.join(said) or '-'

    def fd(self, side):
        if self.flavour == SOURCE and side == GET:
            return int(self.lane['source']['fd'])
        return int(self.lane['gates'][side]['fd_plus_1']) - 1

    def side_of_futex(self, address):
        """The side whose waiter sleeps on this word, or None."""
        for side in (GET, PUT):
            if address == int(self.lane['gates'][side]['threads'].address):
                return side
            if self.flavour == MEET and any(address == int(o['state'].address) for o in self.offers(side)):
                return side
        return None


def plural(n, what):
    return '%d %s%s' % (n, what, '' if n == 1 else 's')


class Core:
    """A channel, or a pair."""

    def __init__(self, core):
        self.core = core
        self.address = int(core)
        self.pair = int(core['n_lanes']) == 2
        self.lanes = [Lane(core['ends'][i]['lanes'][GET]) for i in range(2 if self.pair else 1)]

    @staticmethod
    def of(value):
        """The channel of a handle or core, or None if that is no channel."""
        try:
            if is_pointer_to(value.type, 'spool_chan'):
                chan = at(value, 'struct spool_chan')
                core = chan['core']
                if int(chan) not in (int(core['ends'][i].address) for i in range(2)):
                    return None
            else:
                core = at(value, 'struct spool__core')
            if int(core['ends'][0]['core']) != int(core) or int(core['n_lanes']) not in (1, 2):
                return None
            found = Core(core)
            return found if all(lane.flavour <= SOURCE for lane in found.lanes) else None
        except gdb.MemoryError:
            return None

    def name(self):
        return self.core['name'].string()

    def handle(self, i):
        return int(self.core['ends'][i].address)

    def label(self):
        return '"%s"' % self.name() if self.name() else 'channel 0x%x' % self.address

    def describe(self, i):
        lane = self.lanes[i]
        length, closed = lane.state()
        said = [self.label(), ('one end of a pair, ' if self.pair else '') + lane.kind()]
        if length not in '-?':
            said.append(length)
        said.append('closed' if closed else 'open')
        for side, what in ((GET, 'to get'), (PUT, 'to put')):
            if lane.waiting(side) not in ('-', 'in the kernel'):
                said.append('%s waiting %s' % (lane.waiting(side), what))
        for side, what in ((GET, 'fd'), (PUT, 'put fd')):
            if lane.fd(side) >= 0:
                said.append('%s %d' % (what, lane.fd(side)))
        return ', '.join(said)


class Select:
    def __init__(self, select):
        self.select = select
        self.address = int(select)
        self.epoll = int(select['epoll'])

    @staticmethod
    def of(value):
        try:
            s = at(value, 'struct spool_select')
            sizes = [int(s[m]) for m in ('n_cases', 'cap_cases', 'n_watches', 'cap_watches')]
            if not (0 <= sizes[0] <= sizes[1] <= MANY and 0 <= sizes[2] <= sizes[3] <= MANY) or int(s['epoll']) < 0:
                return None
            found = Select(s)
            found.cores()
            return found if int(s['order']) in (0, 1) and int(s['random']) else None
        except gdb.MemoryError:
            return None

    def watch(self, case):
        return self.select['watches'][int(case['watch'])]

    def cases(self):
        """Each case that there is: its index, what it waits for, whether it is on."""
        for i in range(int(self.select['n_cases'])):
            case = self.select['cases'][i]
            if int(case['watch']) < 0:
                continue
            watch = self.watch(case)
            if int(watch['chan']):
                core = Core.of(watch['chan'])
                what = 'get ' if int(watch['kind']) == 1 else 'put '
                what += core.label() if core else 'what is no channel'
            else:
                what = 'fd %d' % int(watch['key_fd'])
            yield i, what, bool(case['on'])

    def cores(self):
        for i in range(int(self.select['n_watches'])):
            watch = self.select['watches'][i]
            core = Core.of(watch['chan']) if int(watch['kind']) and int(watch['chan']) else None
            if core:
                yield core

    def describe(self):
        cases = ', '.join('%d %s%s' % (i, what, '' if on else ' (off)') for i, what, on in self.cases())
        return 'epoll fd %d, %s' % (self.epoll, 'cases ' + cases if cases else 'no cases')


# Finding them.


def parts(value, depth):
    """The values inside a variable that may be handles: of arrays, of structs, and of structs that it points to."""
    kind = value.type.strip_typedefs()
    if kind.code == gdb.TYPE_CODE_PTR and not int(value):
        return
    if is_pointer_to(kind, 'spool_chan', 'spool__core', 'spool_select'):
        yield value
    elif depth > 0 and kind.code == gdb.TYPE_CODE_ARRAY and kind.target().strip_typedefs().code in (
            gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_ARRAY):
        low, high = kind.range()
        for i in range(low, min(high, low + 255) + 1):
            yield from parts(value[i], depth - 1)
    elif depth > 0 and kind.code == gdb.TYPE_CODE_STRUCT:
        for field in kind.fields():
            if hasattr(field, 'bitpos') and not field.bitsize and field.name:
                yield from parts(value[field], depth - 1)
    elif depth > 1 and kind.code == gdb.TYPE_CODE_PTR and \
            kind.target().strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        yield from parts(value.dereference(), depth - 2)


def handles(value):
    try:
        yield from parts(value, 3)
    except gdb.error:  # optimized out, or not to be read
        return


def frames_of(thread):
    """The thread's frames; it is selected meanwhile."""
    thread.switch()
    try:
        frame = gdb.newest_frame()
        for _ in range(64):
            if frame is None:
                return
            yield frame
            frame = frame.older()
    except gdb.error:
        return


def each_thread():
    """All threads, in order; what was selected is so again afterwards."""
    before = gdb.selected_thread()
    if before is None:
        raise gdb.GdbError('no program is there')
    frame = gdb.selected_frame()
    try:
        yield from sorted(gdb.selected_inferior().threads(), key=lambda t: t.num)
    finally:
        before.switch()
        frame.select()


def variables():
    """
    Of every frame of every thread the local variables, and of the files of these frames the global ones. Each is to be
    looked at before the next is asked for: gdb 13 crashes over values of frames that it has forgotten since.
    """
    seen = set()
    for thread in each_thread():
        for frame in frames_of(thread):
            try:
                block = frame.block()
            except RuntimeError:
                continue
            while block is not None:
                fixed = block.is_static or block.is_global
                if not fixed or (block.start, block.end, block.is_static) not in seen:
                    for symbol in block:
                        try:
                            if symbol.is_variable or symbol.is_argument:
                                yield symbol.value(frame)
                        except (gdb.error, TypeError):
                            continue
                if fixed:
                    seen.add((block.start, block.end, block.is_static))
                block = block.superblock


def registered(kind):
    """The addresses of all channels (0) or selects (1), as lib/registry.h lists them, or None if it is not there."""
    try:
        registry = gdb.parse_and_eval('spool__registry')
        end, segments = int(registry['end']), registry['segments']
        found, size = [], 64
        for i in range(segments.type.range()[1] + 1):
            if end <= 0:
                break
            if int(segments[i]):
                found += words(int(segments[i]), min(size, end), 8)
            end -= size
            size *= 2
        return [entry & ~3 for entry in found if entry and entry & 3 == kind]
    except gdb.error:
        return None


def all_selects(values=None):
    """All that there are, or those that the expressions lead to."""
    addresses = registered(1) if values is None else None
    if addresses is not None:
        return [select for select in (Select.of(at(a, 'struct spool_select')) for a in addresses) if select]
    found = {}
    for value in variables() if values is None else values:
        for handle in handles(value):
            if is_pointer_to(handle.type, 'spool_select') and int(handle) not in found:
                found[int(handle)] = Select.of(handle)
    return [select for select in found.values() if select]


def all_cores(values=None):
    """All that there are, or those that the expressions lead to; without the registry, those of variables and selects."""
    addresses = registered(0) if values is None else None
    if addresses is not None:
        return [core for core in (Core.of(at(a, 'struct spool__core')) for a in addresses) if core]
    found = {}
    for value in variables() if values is None else values:
        for handle in handles(value):
            if is_pointer_to(handle.type, 'spool_select'):
                select = Select.of(handle)
                cores = list(select.cores()) if select else []
            else:
                cores = [Core.of(handle)]
            for core in cores:
                if core:
                    found[core.address] = core
    return [found[address] for address in sorted(found)]


# Who waits.


def register(frame, name):
    try:
        return int(frame.read_register(name)) & (1 << 64) - 1
    except (ValueError, gdb.error):
        return None


def first_argument(frame):
    """Of the system call that the thread is in, which keeps its arguments' registers."""
    machine = frame.architecture().name()
    return register(frame, 'rdi' if machine.startswith('i386:x86-64') else 'x0' if machine == 'aarch64' else 'none')


def variable(frame, *names):
    """Those of its own variables that have such a name and a value."""
    try:
        block = frame.block()
    except RuntimeError:
        return
    while block is not None and not block.is_static and not block.is_global:
        for symbol in block:
            try:
                if symbol.name in names and (symbol.is_variable or symbol.is_argument):
                    value = symbol.value(frame)
                    if not value.is_optimized_out:
                        yield value
            except (gdb.error, TypeError):
                continue
        block = None if block.function else block.superblock


def is_ours(frame):
    """Whether it is in the library: by its function's name, or for a static one by its file."""
    if (frame.name() or '').startswith('spool_'):
        return True
    symtab = frame.find_sal().symtab
    return symtab is not None and re.search(r'(^|/)lib/[a-z]+\.[ch]$', symtab.filename) is not None


def wait_of(thread, cores, selects):
    """What the thread is in, if it is in the library: the call, and for what it waits there."""
    call = select = core = side = first = None
    inside = False
    for n, frame in enumerate(frames_of(thread)):
        if n == 0:
            first = first_argument(frame)
        if not is_ours(frame):
            if inside:
                break
            continue
        name = frame.name() or ''
        if name == 'await_job':
            return '-', 'another function from spool_go'
        inside = inside or name.startswith('spool_')
        # The outermost of them, unless the compiler made a jump of its call.
        call = name if name.startswith('spool_') and not name.startswith('spool__') else call
        for value in variable(frame, 'sel', 's'):
            if is_pointer_to(value.type, 'spool_select'):
                select = Select.of(value) or select
        for value in variable(frame, 'chan', 'core'):
            if is_pointer_to(value.type, 'spool_chan', 'spool__core'):
                core = Core.of(value) or core
        if name == 'spool__lane_wait':
            side = next((int(value) for value in variable(frame, 'side')), side)
    if not inside:
        return None
    if call == 'spool_go_wait':
        return call, 'all functions of spool_go to return'
    select = select or next((s for s in selects if s.epoll == first), None)
    if select:
        return 'select', '0x%x: %s' % (select.address, select.describe())
    end = 0
    for known in cores + ([core] if core else []):
        for i, lane in enumerate(known.lanes):
            found = lane.side_of_futex(first)
            if found is not None:
                core, end, side = known, i if found == GET or not known.pair else 1 - i, found
    what = '%s 0x%x' % (core.label(), core.handle(end)) if core else '?'
    return {GET: 'get', PUT: 'put'}.get(side, call or '?'), what


# What gdb calls.


class Spool(gdb.Command):
    """Channels of spool: "spool channels", "spool selects", "spool waits"."""

    def __init__(self):
        super().__init__('spool', gdb.COMMAND_DATA, prefix=True)


def evaluate(argument):
    return [gdb.parse_and_eval(e) for e in gdb.string_to_argv(argument)] or None


def table(heads, rows):
    rows = [heads] + rows
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    for row in rows:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


class Channels(gdb.Command):
    """Shows channels: spool channels [EXPRESSION ...].
A line for each direction of each channel. HANDLE is the spool_chan * that gets from it, LANE what the static probes
tell it by. ? stands for a length that only the kernel knows, FDS are those of spool_fd and spool_put_fd."""

    def __init__(self):
        super().__init__('spool channels', gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        lookup('struct spool__core')
        rows = []
        for core in all_cores(evaluate(argument)):
            for i, lane in enumerate(core.lanes):
                length, closed = lane.state()
                fds = ' '.join('-' if lane.fd(side) < 0 else str(lane.fd(side)) for side in (GET, PUT))
                rows.append(('0x%x' % core.handle(i), '0x%x' % lane.address, core.name() or '-',
                             ('pair, ' if core.pair else '') + lane.kind(), length, 'closed' if closed else 'open',
                             lane.waiting(GET), lane.waiting(PUT), fds))
        if rows:
            table(('HANDLE', 'LANE', 'NAME', 'KIND', 'LENGTH', 'STATE', 'WAIT TO GET', 'WAIT TO PUT', 'FDS'), rows)
        else:
            print('No channel was found by the variables of any frame; try "spool channels EXPRESSION".')


class Selects(gdb.Command):
    """Shows selects and their cases: spool selects [EXPRESSION ...]."""

    def __init__(self):
        super().__init__('spool selects', gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        lookup('struct spool_select')
        found = all_selects(evaluate(argument))
        for select in found:
            print('select 0x%x: %s' % (select.address, select.describe()))
        if not found:
            print('No select was found by the variables of any frame; try "spool selects EXPRESSION".')


class Waits(gdb.Command):
    """Shows which thread is in which call of the library, and for which channel or select it waits there."""

    def __init__(self):
        super().__init__('spool waits', gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        lookup('struct spool__core')
        cores, selects = all_cores(), all_selects()
        rows = []
        for thread in each_thread():
            wait = wait_of(thread, cores, selects)
            if wait:
                rows.append((str(thread.num), str(thread.ptid[1] or thread.ptid[0]), thread.name or '-') + wait)
        if rows:
            table(('THREAD', 'LWP', 'NAME', 'CALL', 'FOR'), rows)
        else:
            print('No thread waits in the library.')


class Printer:
    """Of a pointer to a handle: the address, and what is there."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        plain = '0x%x' % int(self.value)
        try:
            if is_pointer_to(self.value.type, 'spool_select'):
                select = Select.of(self.value)
                return '%s {%s}' % (plain, select.describe()) if select else plain
            core = Core.of(self.value)
            if not core:
                return plain
            i = 1 if core.pair and int(self.value) == core.handle(1) else 0
            return '%s {%s}' % (plain, core.describe(i))
        except NoTypes:
            return plain + ' {libspool has no debug information}'
        except gdb.error as e:
            return '%s {%s}' % (plain, e)


def printer_for(value):
    if is_pointer_to(value.type, 'spool_chan', 'spool_select', 'spool__core') and int(value):
        return Printer(value)
    return None


printer_for.name = 'libspool'
printer_for.enabled = True
# In front of what another copy has registered: of the library that is loaded again, and sourced by hand.
gdb.pretty_printers[:] = [p for p in gdb.pretty_printers if getattr(p, 'name', '') != 'libspool']
gdb.pretty_printers.insert(0, printer_for)
Spool()
Channels()
Selects()
Waits()
