// What the reader takes along: tables, and several files in one archive.

import { fetched } from "./answers.js";
import { h } from "./dom.js";

/** Has the browser save a blob under a name. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = h("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

const FORMULA = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/; // as convlens/escape.py has it
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Rows as CSV in UTF-8, null as nothing. What a spreadsheet would take for a formula begins with an
 *  apostrophe. */
export function table(rows) {
  const cell = (value) => {
    const plain = String(value ?? "");
    const isFormula = typeof value === "string" && FORMULA.test(plain) && !NUMBER.test(plain);
    const text = isFormula ? `'${plain}` : plain;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const text = rows.map((row) => row.map(cell).join(",")).join("\r\n");
  return new Blob([`${text}\r\n`], { type: "text/csv" });
}

/** files: [{name, path}], of which `path` is asked for. A ZIP in which they are stored as they are,
 *  names made distinct. */
export async function zipped(files, tell = () => {}) {
  const [parts, heads, used] = [[], [], new Set()];
  let start = 0;
  for (const [i, { name, path }] of files.entries()) {
    tell(i);
    const bytes = new Uint8Array(await fetched(path));
    const label = new TextEncoder().encode(distinct(name, used));
    const about = described(bytes, label.length);
    parts.push(number(0x04034b50, 4), about, label, bytes);
    heads.push([
      number(0x02014b50, 4),
      number(20, 2),
      about,
      new Uint8Array(10),
      number(start, 4),
      label,
    ]);
    start += 30 + label.length + bytes.length;
  }
  const directory = heads.flat();
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const counts = [number(files.length, 2), number(files.length, 2)];
  const end = [number(0x06054b50, 4), number(0, 4), ...counts, number(size, 4), number(start, 4)];
  return new Blob([...parts, ...directory, ...end, number(0, 2)], { type: "application/zip" });
}

/** What both heads of a file say alike: version, names in UTF-8, stored, no date, CRC, sizes. */
function described(bytes, nameLength) {
  const fields = [
    [20, 2],
    [0x0800, 2],
    [0, 2],
    [0, 2],
    [0x21, 2], // the first day of 1980, which is as early as there is one
    [crc(bytes), 4],
    [bytes.length, 4],
    [bytes.length, 4],
    [nameLength, 2],
    [0, 2],
  ];
  const all = new Uint8Array(26);
  let at = 0;
  for (const [value, size] of fields) {
    all.set(number(value, size), at);
    at += size;
  }
  return all;
}

/** The lowest byte first. */
function number(value, size) {
  return Uint8Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 255);
}

function distinct(name, used) {
  let free = name;
  for (let count = 2; used.has(free); count += 1) free = name.replace(/(\.\w+)?$/, ` (${count})$1`);
  used.add(free);
  return free;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let i = 0; i < 8; i += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** CRC-32 as ZIP and PNG have it. */
function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
