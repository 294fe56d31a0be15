// Laws: the weights of pulls. A law is {text, binding, number, negative, value(state)}; laws add, subtract and so on.

const SUM = 0,
  QUOTIENT = 1,
  PRODUCT = 2,
  ATOM = 3; // how tightly a formula binds
const DIGITS = 6;

/** A law. `number` is its value where that is the same for every token, else null. */
function law(text, value, binding = ATOM) {
  return { text, value, binding, number: null, negative: false };
}

/** The same weight for every token. */
function constant(number) {
  const plain = number + 0;
  return { text: rounded(plain, DIGITS), value: () => plain, binding: ATOM, number: plain, negative: plain < 0 };
}

const asLaw = (side) => (typeof side === "number" ? constant(side) : side);
const parenthesised = (one, least) => (one.binding >= least ? one : { ...one, text: `(${one.text})`, binding: ATOM });

/** The formula with or without a minus in front that holds for all of it. */
function withSign(one, negative) {
  if (one.negative === negative) return one;
  if (!negative) return { ...one, text: one.text.slice(1), negative: false };
  return { ...one, text: `-${parenthesised(one, QUOTIENT).text}`, negative: true };
}

const OPERATIONS = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
};

/** Two laws or numbers combined; constants are folded, neutral ones dropped. */
function combine(operation, left, right) {
  if (typeof left === "number" && typeof right === "number") return OPERATIONS[operation](left, right);
  let [a, b] = [asLaw(left), asLaw(right)];
  const apply = OPERATIONS[operation];
  if (a.number !== null && b.number !== null) return constant(apply(a.number, b.number));
  const additive = operation === "+" || operation === "-";
  if (b.number === (additive ? 0 : 1)) return a;
  if ((operation === "+" && a.number === 0) || (operation === "*" && a.number === 1)) return b;
  if (operation === "*" && b.number !== null) [a, b] = [b, a];
  const minus = (operation === "-" && a.number === 0) || (operation === "*" && a.number === -1);
  if (minus) return { ...withSign(b, !b.negative), value: (s) => -b.value(s) };
  const [first, second] = [a, b];
  const value = (s) => apply(first.value(s), second.value(s));
  return { ...(additive ? added(a, b, operation) : multiplied(a, b, operation)), value, number: null };
}

function added(a, b, operation) {
  if (b.negative) [b, operation] = [withSign(b, false), operation === "-" ? "+" : "-"];
  if (operation === "-" || b.text.startsWith("-")) b = parenthesised(b, QUOTIENT);
  return { ...a, text: `${a.text} ${operation} ${b.text}`, binding: SUM, negative: false };
}

function multiplied(a, b, operation) {
  const negative = a.negative !== b.negative;
  [a, b] = [parenthesised(withSign(a, false), PRODUCT), withSign(b, false)];
  const loose = operation === "*" && !/^\d/.test(b.text);
  b = parenthesised(b, loose ? QUOTIENT : ATOM);
  const product = operation === "*";
  const text = product ? `${a.text} ${b.text}` : `${a.text} / ${b.text}`;
  return withSign(
    { ...a, text, binding: product ? Math.min(b.binding, PRODUCT) : QUOTIENT, negative: false },
    negative,
  );
}

/** Renormalised top k of probabilities given by their logarithms, k cut to V. */
function topEntropy(state, k) {
  const top = [...state.logP].sort((a, b) => b - a).slice(0, Math.min(k, state.size));
  return entropyOf(logSoftmax(top));
}

const logRatio = (state, other) => state.logPLabel - state[other].logP[state.label];

/** (1 - p_y) to a power, as it is written; nothing at power 0. */
function otherMass(power) {
  if (power === 0) return "";
  return power === 1 ? "(1-p_y)" : `(1-p_y)^${rounded(power, DIGITS)}`;
}

/** b_k sigmoid(scale (z_k - z_y)), b ~ p^exponent: what GEM's script weighs with. */
function leaning(state, exponent, scale) {
  const q = logSoftmax(state.logP.map((logP) => exponent * logP)).map(Math.exp);
  const own = state.logits[state.label];
  return q.map((b, k) => b / (1 + Math.exp(-scale * (state.logits[k] - own))));
}

/** sum_k p_k^(1-eta) teacher_k^eta. */
function pathNormalizer(state, eta) {
  return state.logP.reduce((sum, logP, k) => sum + Math.exp((1 - eta) * logP + eta * state.teacher.logP[k]), 0);
}

/** Indices of the k most likely tokens of a model. */
function topTokens(logP, k) {
  const order = logP.map((_, index) => index).sort((a, b) => logP[b] - logP[a]);
  return order.slice(0, Math.min(k, logP.length));
}

/** The laws by name; each takes its arguments and gives a law (or a number). */
const LAWS = {
  /** Confidence p_y^a. */
  label_prob(exponent) {
    if (exponent === 0) return constant(1);
    if (exponent === 1) return law("p_y", (s) => s.pLabel);
    return law(`p_y^${rounded(exponent, DIGITS)}`, (s) => Math.exp(exponent * s.logPLabel));
  },
  label_prob_above: (t) => law(`1[p_y > ${rounded(t, DIGITS)}]`, (s) => Number(s.pLabel > t)),
  label_prob_at_least: (t) => law(`1[p_y >= ${rounded(t, DIGITS)}]`, (s) => Number(s.pLabel >= t)),
  label_prob_at_most: (t) => law(`1[p_y <= ${rounded(t, DIGITS)}]`, (s) => Number(s.pLabel <= t)),
  /** H of the renormalised top k, nats. */
  top_k_entropy: (k) => law(`H_${k}`, (s) => topEntropy(s, k)),
  normalized_top_k_entropy(k) {
    const value = (s) => (Math.min(k, s.size) > 1 ? topEntropy(s, k) / Math.log(Math.min(k, s.size)) : 0);
    return law(`H_${k}/ln ${k}`, value, QUOTIENT);
  },
  /** A sequence of one token: w = min(p_y / ref_y, maximum). */
  trajectory_weight: (maximum) => law("w(tau)", (s) => Math.min(Math.exp(logRatio(s, "reference")), maximum)),
  critical_mask: () => law("c_t", (s) => s.critical),
  /** r 1[r <= maximum], r = p_y / old_y. */
  ratio_below(maximum) {
    const value = (s) => (logRatio(s, "old") <= Math.log(maximum) ? Math.exp(logRatio(s, "old")) : 0);
    return law(`r 1[r <= ${rounded(maximum, DIGITS)}]`, value, PRODUCT);
  },
  /** Focal loss: (1-p)^f - f p (1-p)^(f-1) log p. */
  focal_trust(f) {
    if (f === 0) return constant(1);
    const words = [f === 1 ? "" : rounded(f, DIGITS), "p_y", otherMass(f - 1), "log p_y"].filter(Boolean).join(" ");
    const value = (s) => s.rest ** f - f * s.rest ** (f - 1) * s.pLabel * s.logPLabel;
    return law(`${otherMass(f)} - ${words}`, (s) => (s.rest === 0 ? 0 : value(s)), SUM);
  },
  /** TaiLr: max(p_y / (r + (1-r) p_y), m). */
  saturated_label_prob(r, minimum) {
    if (r === 0) return constant(1);
    const own = LAWS.label_prob(1);
    const found = r === 1 ? own : combine("/", own, combine("+", r, combine("*", 1 - r, own)));
    if (minimum === 0) return found;
    return law(`max(${found.text}, ${rounded(minimum, DIGITS)})`, (s) => Math.max(found.value(s), minimum));
  },
  /** DEFT: p_y^c, c = sum p_k^2. */
  label_prob_to_concentration: () =>
    law("p_y^sum(p^2)", (s) => Math.exp(s.p.reduce((sum, p) => sum + p * p, 0) * s.logPLabel)),
  reference_label_prob: () => law("ref_y", (s) => s.reference.p[s.label]),
  /** PriFT-mass: the reference's mass on the label and on all that is less likely. */
  label_support_at_least(t) {
    const mass = ({ reference: { p }, label }) => p.reduce((sum, b) => sum + (b < p[label] ? b : 0), p[label]);
    return law(`1[mass up to ref_y >= ${rounded(t, DIGITS)}]`, (s) => Number(mass(s) >= t));
  },
  clipped_ratio(low, high) {
    const value = (s) => Math.min(Math.max(Math.exp(logRatio(s, "reference")), low), high);
    return law(`clip(p_y/ref_y, ${rounded(low, DIGITS)}, ${rounded(high, DIGITS)})`, value);
  },
  log_partition: () => law("log Z", (s) => s.logZ),
  advantage: () => law("A", (s) => s.advantage),
  /** PPO: A r where the clip lets the gradient through. */
  clipped_advantage(low, high) {
    const value = (s) => {
      const ratio = logRatio(s, "old");
      const passes = s.advantage > 0 ? ratio <= Math.log(high) : s.advantage < 0 && ratio >= Math.log(low);
      return passes ? s.advantage * Math.exp(ratio) : 0;
    };
    return law(`A r (clipped to [${rounded(low, DIGITS)}, ${rounded(high, DIGITS)}])`, value, PRODUCT);
  },
  /** The k3 penalty: l (ref_y / p_y - 1). */
  k3_trust(weight) {
    if (weight === 0) return constant(0);
    const ratio = law("ref_y / p_y", (s) => Math.exp(-logRatio(s, "reference")), QUOTIENT);
    return combine("*", weight, combine("-", ratio, 1));
  },
  path_normalizer: (eta) => law(`Z(${rounded(eta)} to teacher)`, (s) => pathNormalizer(s, eta)),
  top_k_mass: (k) =>
    law(`teacher(top ${k})`, ({ teacher }) => topTokens(teacher.logP, k).reduce((sum, i) => sum + teacher.p[i], 0)),
  sigmoid_mass: (exponent, scale) =>
    law(`E_q sigmoid(${rounded(scale, DIGITS)} (z - z_y))`, (s) => leaning(s, exponent, scale).reduce((a, b) => a + b)),
};

/**
 * An expression at parameter values: a number, a parameter's name, or [operation or law, arguments...].
 * @returns {number|object} a number, or a law
 */
function evaluated(expression, parameters) {
  if (typeof expression === "number") return expression;
  if (typeof expression === "string") return parameters[expression];
  const [name, ...rest] = expression;
  const values = rest.map((one) => evaluated(one, parameters));
  return name in OPERATIONS ? combine(name, ...values) : LAWS[name](...values);
}
