// Reading: from pulls to the gradient g, the induced target Q = p - g, label trust gamma, remainder and residual.

const NEUTRAL = 1e-9; // a total pull this near to 1 leaves the model no share
const FULL_TRUST = 1e-12; // gamma this near to 1 leaves no residual
/** Per unit of Q's largest entry: what is forgiven where Q is asked to be a distribution, and what is read as 0. */
const ROUNDING = { forgiven: 1e-10, zero: 1e-14 }; // float64
const ROUNDING_OF_OWN = { forgiven: 1e-5, zero: 1e-6 }; // float32, which the grid of a user's loss is kept in

/**
 * The pulls of a loss at parameter values.
 * @param {{pulls: object[]}} loss from the catalogue
 * @returns {{direction: object, weight: object}[]}
 */
function pullsOf(loss, parameters) {
  const live = loss.pulls.filter(({ unless }) => !unless || parameters[unless[0]] !== unless[1]);
  return live.map(({ direction: [name, ...rest], weight }) => ({
    direction: DIRECTIONS[name](...rest.map((one) => (one in MODEL_WORDS ? one : evaluated(one, parameters)))),
    weight: asLaw(evaluated(weight, parameters)),
  }));
}

/**
 * g = sum_j a_j d_j on one token, with the label's pull and the total pull S.
 * @returns {{g: number[], trust: number, total: number, size: number}} size: sum |a_j|
 */
function pulled(pulls, state) {
  const g = new Array(state.size).fill(0);
  let trust = 0,
    total = 0,
    size = 0;
  for (const { direction, weight } of pulls) {
    const a = weight.value(state);
    const d = directionGradient(direction, state);
    for (let k = 0; k < g.length; k++) g[k] += a * d[k];
    if (direction.name === "label") trust += a;
    if (direction.kind === "toward") total += a;
    size += Math.abs(a);
  }
  return { g, trust, total, size };
}

/**
 * The gauge in which a loss reads naturally: unit where only the label pulls, or S is 0 or 1 on all the tokens.
 * @param {object[]} pulls
 * @param {object[]} states the tokens that it is judged on
 */
function naturalGauge(pulls, states) {
  const live = pulls.filter(({ weight }) => states.some((s) => Math.abs(weight.value(s)) > FULL_TRUST));
  if (live.every(({ direction }) => direction.name === "label" || direction.kind !== "toward")) return "unit";
  const totals = states.map((s) => pulled(pulls, s).total);
  const level = (value) => totals.every((total) => Math.abs(total - value) <= FULL_TRUST);
  return level(0) || level(1) ? "unit" : "normalized";
}

/**
 * One token under one loss, in a gauge and a reading.
 * @param {{g: number[], trust: number, total: number, size: number}} found what `pulled` gives; trust may be NaN
 * @param {"unit"|"normalized"} gauge
 * @param {"attractor"|"self"|"label-free"} reading
 * @param {{forgiven: number, zero: number}} [rounding]
 * @returns {object} the numbers as they are, and `noise`: what of Q, gamma, residual and the measures is rounding
 */
function readTarget(found, state, gauge, reading, rounding = ROUNDING) {
  const { p, label } = state;
  const undefinedGauge = gauge === "normalized" && !(found.total > 1e-14 * found.size);
  const scale = gauge === "unit" ? 1 : undefinedGauge ? NaN : found.total;
  const q = p.map((value, k) => value - found.g[k] / scale);
  const others = found.g.reduce((sum, g, k) => sum + (k === label ? 0 : g), 0);
  const gamma = {
    attractor: found.trust / scale,
    self: others / state.rest / scale, // gamma for which the residual is p: off the label g_k = gamma p_k
    "label-free": q[label],
  }[reading];
  const remainder = q.map((value, k) => (k === label ? value - gamma : value));
  const free = Math.abs(1 - gamma) <= FULL_TRUST ? NaN : 1 - gamma;
  const residual = remainder.map((r) => r / free);
  const zero = rounding.zero * Math.max(1, ...q.map(Math.abs), found.size / Math.abs(scale) || 0);
  return {
    p,
    g: found.g,
    q,
    gamma,
    gauge,
    reading,
    remainder,
    residual,
    total: found.total,
    noise: { q: zero, gamma: reading === "self" ? zero / state.rest : zero, residual: zero / Math.abs(free) },
    ...measured(q, p, rounding.forgiven),
  };
}

/** Mass, negative mass, total variation from p, and KL(Q || p) in nats, undefined where Q is no distribution. */
function measured(q, p, rounding) {
  let mass = 0,
    negative = 0,
    distance = 0,
    divergence = 0,
    largest = 1;
  q.forEach((value, k) => {
    mass += value;
    negative += Math.max(-value, 0);
    distance += Math.abs(value - p[k]);
    largest = Math.max(largest, Math.abs(value));
    if (value > 0) divergence += value * Math.log(value / p[k]);
  });
  const sound = negative <= rounding * largest && Math.abs(mass - 1) <= rounding * largest;
  return { mass, negative, variation: distance / 2, divergence: sound ? divergence : NaN };
}

const sumOf = (laws) => laws.reduce((total, one) => combine("+", total, one), constant(0));
const isLabel = ({ direction }) => direction.name === "label";
const isOther = ({ direction }) => direction.kind === "toward" && direction.name !== "label";

/** Whether S is 1: by its formula, or on all the tokens. */
function isComplete(pulls, states) {
  const total = sumOf([...pulls.filter(isLabel), ...pulls.filter(isOther)].map(({ weight }) => weight));
  if (total.number !== null) return Math.abs(total.number - 1) < NEUTRAL;
  return states.every((s) => Math.abs(total.value(s) - 1) < NEUTRAL);
}

/** Label trust as a formula in a gauge; as `Pulls.gamma_law` writes it. */
function gammaText(pulls, gauge, states) {
  const trust = sumOf(pulls.filter(isLabel).map(({ weight }) => weight));
  const total = sumOf([...pulls.filter(isLabel), ...pulls.filter(isOther)].map(({ weight }) => weight));
  if (gauge === "unit" || trust.number === 0 || isComplete(pulls, states)) return trust.text;
  if (total.number === 0) return "undefined";
  return pulls.some(isOther) ? combine("/", trust, total).text : "1";
}

/** Where the mass goes that the label does not get; as `Pulls.residual_text` writes it. */
function residualText(pulls, gauge, states) {
  const others = pulls.filter(isOther);
  const total = sumOf([...pulls.filter(isLabel), ...others].map(({ weight }) => weight));
  const withoutModel = gauge === "normalized" || isComplete(pulls, states);
  const words = ({ direction, weight }) => `${direction.text} (pull ${weight.text})`;
  let text;
  if (gauge === "normalized" && total.number === 0) text = "undefined (total pull 0)";
  else if (!others.length) text = withoutModel && pulls.some(isLabel) ? "none (gamma is 1)" : "model";
  else if (others.length === 1 && withoutModel) text = others[0].direction.text;
  else text = `mix of ${[...(withoutModel ? [] : ["model"]), ...others.map(words)].join(", ")}`;
  const extra = pulls.filter(({ direction }) => direction.kind !== "toward").map(words);
  return extra.length ? `${text}, with ${extra.join(" and ")}` : text;
}
