// Numerals: numbers as they are read, as Python's format() writes them.

/** A number to some significant digits, like Python's f"{x:.4g}". */
function rounded(number, digits = 4) {
  if (!Number.isFinite(number)) return String(number);
  if (number === 0) return "0";
  const power = Number(number.toExponential(digits - 1).split("e")[1]);
  if (power < -4 || power >= digits) {
    const [mantissa, exponent] = number.toExponential(digits - 1).split("e");
    const sign = exponent.startsWith("-") ? "-" : "+";
    const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
    return `${short}e${sign}${exponent.replace(/[+-]/, "").padStart(2, "0")}`;
  }
  const fixed = number.toFixed(Math.max(0, digits - 1 - power));
  return fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed;
}

/** A probability as it is read: three digits, more of them near 0 and 1. */
function shownProbability(p) {
  if (p > 0.99) return (Math.floor(p * 1e5) / 1e5).toFixed(4);
  return p < 0.01 ? rounded(p, 2) : p.toFixed(3);
}

/**
 * A result as it is read; undefined is a dash, and what is no larger than its rounding error is 0.
 * @param {number} [noise] that error
 */
function shown(number, digits = 3, noise = 0) {
  if (!Number.isFinite(number)) return "–";
  if (Math.abs(number) <= noise) return (0).toFixed(digits);
  if (number !== 0 && Math.abs(number) < 5e-4) return number.toExponential(0).replaceAll("-", "−");
  return number.toFixed(digits).replace("-", "−");
}
