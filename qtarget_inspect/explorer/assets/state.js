// State: a model on one token, read in log-space, with the other models that a loss may ask for.

/** log softmax, nats. */
function logSoftmax(logits) {
  const most = Math.max(...logits);
  let sum = 0;
  for (const z of logits) sum += Math.exp(z - most);
  const logZ = Math.log(sum);
  return logits.map((z) => z - most - logZ);
}

/** Entropy of log-probabilities, nats; 0 log 0 is 0. */
function entropyOf(logProbs) {
  let sum = 0;
  for (const logP of logProbs) if (logP > -Infinity) sum -= Math.exp(logP) * logP;
  return sum;
}

/** 1 - b_y as the sum over the others: exact where b_y rounds to 1. */
function massOfOthers(probs, label) {
  let sum = 0;
  for (let k = 0; k < probs.length; k++) if (k !== label) sum += probs[k];
  return sum;
}

/**
 * Another model on the same token.
 * @param {number[]} logits
 */
function modelFrom(logits) {
  const logP = logSoftmax(logits);
  return { logP, p: logP.map(Math.exp) };
}

/**
 * Everything that directions and laws are functions of.
 * @param {{logits: number[], label: number, teacher?: number[], reference?: number[], old?: number[],
 *          advantage?: number, critical?: number}} token logits of all models; one token, its own sequence
 */
function makeState(token) {
  const { logits, label } = token;
  const logP = logSoftmax(logits);
  const p = logP.map(Math.exp);
  const most = Math.max(...logits);
  return {
    logits,
    label,
    logP,
    p,
    size: p.length,
    pLabel: p[label],
    logPLabel: logP[label],
    rest: massOfOthers(p, label),
    logZ: most + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0)),
    teacher: token.teacher ? modelFrom(token.teacher) : null,
    reference: token.reference ? modelFrom(token.reference) : null,
    old: token.old ? modelFrom(token.old) : null,
    advantage: token.advantage ?? 1,
    critical: token.critical ?? 1,
  };
}

/** Entropy of a geometric distribution b_k ~ exp(-rate k) over some entries, nats. */
function geometricEntropy(rate, size) {
  return entropyOf(geometricLogProbs(rate, size));
}

/** log b_k of a geometric distribution. */
function geometricLogProbs(rate, size) {
  return logSoftmax(Array.from({ length: size }, (_, k) => -rate * k));
}

const rates = new Map();

/** The rate at which a geometric distribution has an entropy: bisected, as in analysis/sweeps/geometric.py. */
function geometricRate(entropy, size) {
  const key = `${entropy} ${size}`;
  if (!rates.has(key)) {
    let [low, high] = [0, 800];
    for (let step = 0; step < 120; step++) {
      const middle = (low + high) / 2;
      if (geometricEntropy(middle, size) > entropy) low = middle;
      else high = middle;
    }
    rates.set(key, (low + high) / 2);
  }
  return rates.get(key);
}

const logit = (p) => Math.log(p) - Math.log1p(-p);
/** log sigmoid(x), exact at both ends. */
const logSigmoid = (x) => (x < 0 ? x - Math.log1p(Math.exp(x)) : -Math.log1p(Math.exp(-x)));

/** Log-probabilities of a model from its log-odds of the label and log-probabilities of the others among themselves. */
function withLabel(logOdds, logOthers) {
  return [logSigmoid(logOdds), ...logOthers.map((logB) => logSigmoid(-logOdds) + logB)];
}

const REFERENCE_FLATNESS = 0.5; // the reference's others are the model's to this power: it knows less
const OLD_POLICY_FLATNESS = 0.9;

/**
 * The page's token: the label is token 0, the others fall geometrically with a given entropy. The teacher sees the
 * first few others in the opposite order. Reference and old policy are flatter, their log-odds of the label set off
 * from the model's. With favourite = 3 these are the states of qt.sweep.
 * @param {object} at positions: p, shape, teacher, favourite, reference, old, advantage, critical, log_z
 * @param {number} size V
 */
function tokenAt(at, size) {
  const rate = geometricRate(at.shape, size - 1);
  const others = geometricLogProbs(rate, size - 1);
  const turned = [...others.slice(0, at.favourite + 1).reverse(), ...others.slice(at.favourite + 1)];
  const own = logit(at.p);
  return {
    label: 0,
    logits: withLabel(own, others).map((logP) => logP + at.log_z),
    teacher: withLabel(logit(at.teacher), turned),
    reference: withLabel(own + at.reference, geometricLogProbs(REFERENCE_FLATNESS * rate, size - 1)),
    old: withLabel(own + at.old, geometricLogProbs(OLD_POLICY_FLATNESS * rate, size - 1)),
    advantage: at.advantage,
    critical: at.critical,
  };
}

const TRIANGLE_FAVOURITE = 0.8; // the teacher's favourite takes this share of what the label leaves it

/**
 * A token of three: the label, the model's favourite of the page, and a third. The teacher favours the second where it
 * agrees with the model there, else the third.
 * @param {number[]} p probabilities of the three, all above 0
 */
function triangleToken(p, at) {
  const logP = p.map(Math.log);
  const ownOdds = logP[0] - Math.log(p[1] + p[2]);
  const others = (power) => logSoftmax([power * logP[1], power * logP[2]]);
  const shares =
    at.favourite === 0 ? [TRIANGLE_FAVOURITE, 1 - TRIANGLE_FAVOURITE] : [1 - TRIANGLE_FAVOURITE, TRIANGLE_FAVOURITE];
  return {
    label: 0,
    logits: logP.map((value) => value + at.log_z),
    teacher: withLabel(logit(at.teacher), shares.map(Math.log)),
    reference: withLabel(ownOdds + at.reference, others(REFERENCE_FLATNESS)),
    old: withLabel(ownOdds + at.old, others(OLD_POLICY_FLATNESS)),
    advantage: at.advantage,
    critical: at.critical,
  };
}
