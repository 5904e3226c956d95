# Prints the changes of one segment, one JSON object per line, in the order of their commits. Values are as Postgres
# prints them; a value that an UPDATE did not touch and the server did not send is left out.
import json, struct, sys


class Message:
    def __init__(self, payload):
        self.rest = payload

    def take(self, count):
        taken, self.rest = self.rest[:count], self.rest[count:]
        if len(taken) != count:
            sys.exit("the segment is damaged: a message is cut off")
        return taken

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self):
        end = self.rest.index(b"\0")
        return self.take(end + 1)[:-1].decode()

    def row(self, columns):
        values = {}
        for index in range(self.number(">h")):
            kind = self.take(1)
            if kind == b"t":
                values[columns[index]] = self.take(self.number(">i")).decode()
            elif kind == b"n":
                values[columns[index]] = None
        return values


def lsn(number):
    return "%X/%X" % (number >> 32, number & 0xFFFFFFFF)


def relation(message):
    oid, schema, name = message.number(">I"), message.text(), message.text()
    message.take(1)
    columns = []
    for _ in range(message.number(">h")):
        message.take(1)
        columns.append(message.text())
        message.take(8)
    return oid, (schema or "pg_catalog") + "." + name, columns


def change(kind, message, relations):
    table, columns = relations[message.number(">I")]
    found = {"op": {"I": "insert", "U": "update", "D": "delete"}[kind], "table": table}
    while message.rest:
        part = message.take(1)
        found["new" if part == b"N" else "old"] = message.row(columns)
    return found


def main(source):
    if source.readline() != b"keepsake segment 1\n":
        sys.exit("this is no segment of version 1")
    relations, transaction, counted, end = {}, {}, [0, 0], None
    while prefix := source.read(13):
        record, _, length = struct.unpack(">cQI", prefix)
        payload = source.read(length)
        if len(payload) != length:
            sys.exit("the segment is damaged: it is cut off")
        if record == b"s":
            print(json.dumps({"sequences": json.loads(payload)}))
        elif record == b"z":
            end = json.loads(payload)
        else:
            kind, message = chr(payload[0]), Message(payload[1:])
            if kind == "B":
                position, _, xid = message.number(">Q"), message.number(">q"), message.number(">I")
                transaction = {"commit": lsn(position), "xid": xid}
            elif kind == "R":
                oid, table, columns = relation(message)
                relations[oid] = (table, columns)
            elif kind in "IUD":
                print(json.dumps(transaction | change(kind, message, relations)))
            elif kind == "T":
                count, _ = message.number(">I"), message.take(1)
                tables = [relations[message.number(">I")][0] for _ in range(count)]
                print(json.dumps(transaction | {"op": "truncate", "tables": tables}))
            elif kind == "M":
                _, name, size = message.take(9), message.text(), message.number(">I")
                if name == "keepsake.ddl":
                    print(json.dumps(transaction | {"op": "define"} | json.loads(message.take(size))))
            counted[0] += kind == "C"
            counted[1] += kind in "IUDT"
    if end != {"transactions": counted[0], "changes": counted[1]}:
        sys.exit("the segment is damaged: it is cut off, or its counts differ")


main(sys.stdin.buffer)
