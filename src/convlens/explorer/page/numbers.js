// How numbers are written.

/** With so many digits behind the point, a true minus sign, and none before what rounds to 0. */
export function decimal(value, digits) {
  const written = value.toFixed(digits);
  return Number(written) === 0 ? written.replace("-", "") : written.replace("-", "−");
}

/** A share in 0..1: "97.2 %", its space unbroken; "<0.1 %" for what would round to 0. */
export function percent(share, digits = 1) {
  if (!Number.isFinite(share)) return "–";
  const least = 0.1 ** digits;
  if (share > 0 && share * 100 < least) return `<${least.toFixed(digits)}\u00a0%`;
  return `${decimal(share * 100, digits)}\u00a0%`;
}

/** Three significant digits; never an exponent for what people read as a number. */
export function brief(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(1).replace("-", "−");
  const digits = Math.max(0, 2 - Math.floor(Math.log10(size)));
  return decimal(value, Math.min(digits, 6));
}

/** All digits that the network computes with. */
export function exact(value) {
  if (!Number.isFinite(value)) return "–";
  return String(Number(value.toPrecision(7))).replace(/-/g, "−");
}

/** 3 512 000 as "3.5 M". */
export function rounded(count) {
  for (const [unit, letter] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (count >= unit) return `${(count / unit).toFixed(count < 10 * unit ? 1 : 0)} ${letter}`;
  }
  return String(count);
}

export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** Seconds as "45 s", "3 min" or "2 h 5 min". */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 60) return `${Math.round(seconds)}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes}\u00a0min`;
  return `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
}
