// Controls: plain form elements, so that keyboard and screen reader work; each changes the state and asks for a redraw.

const SLIDERS = {
  p: { name: "p_y", label: () => `model: p of “${DATA.tokens[0]}”`, show: shownProbability },
  shape: { name: "others' entropy", label: () => "other tokens: entropy, nats", show: (value) => value.toFixed(2) },
  teacher: {
    name: "teacher's p_y",
    label: () => `teacher: p of “${DATA.tokens[0]}”`,
    show: (value) => value.toFixed(2),
  },
  favourite: {
    name: "teacher's favourite",
    label: () => "teacher: favourite other token",
    show: (value) => `${DATA.tokens[value + 1]}${value ? "" : ", as the model"}`,
  },
  reference: { name: "reference", label: () => "reference: log-odds less the model's", show: signed },
  old: { name: "old policy", label: () => "old policy: log-odds less the model's", show: signed },
  advantage: { name: "advantage", label: () => "advantage A", show: signed },
  critical: { name: "critical", label: () => "critical token, c", show: String },
  log_z: { name: "log Z", label: () => "offset of the logits: log Z", show: String },
};
const ALWAYS = ["p", "shape", "teacher", "favourite"];

function signed(value) {
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value)}`;
}

/**
 * A labelled slider over a list of values.
 * @param {{id: string, label: string, values: number[], value: number, hint?: string,
 *          show: (v: number) => string, moved: (v: number) => void}} what
 */
function slider({ id, label, values, value, show, moved, hint }) {
  const output = element("output", { for: id, "aria-live": "off" });
  const input = element("input", { type: "range", id, min: 0, max: values.length - 1, step: 1 });
  const place = (number) => {
    input.value = values.indexOf(nearest(values, number));
    output.textContent = show(number);
    input.setAttribute("aria-valuetext", show(number));
  };
  place(value);
  input.addEventListener("input", () => {
    const chosen = values[Number(input.value)];
    place(chosen);
    moved(chosen);
  });
  const row = element("div", { class: "slider" }, element("label", { for: id, text: label }), output, input);
  if (hint) row.title = hint;
  return { row, place };
}

/** All sliders of the token; those of the context are there only where a chosen loss asks for it. */
function addTokenSliders(app, changed) {
  const place = document.getElementById("sliders");
  const made = {};
  for (const [axis, { label, show }] of Object.entries(SLIDERS)) {
    const moved = (value) => {
      app().at[axis] = value;
      changed();
    };
    made[axis] = slider({
      id: `slider-${axis}`,
      label: label(),
      values: DATA.positions[axis],
      value: app().at[axis],
      show,
      moved,
    });
    place.append(made[axis].row);
  }
  return () => {
    const asked = new Set(app().chosen.flatMap(({ name }) => lossNamed(name).axes));
    for (const [axis, { row, place }] of Object.entries(made)) {
      row.hidden = !ALWAYS.includes(axis) && !asked.has(axis);
      row.classList.toggle("idle", ["teacher", "favourite"].includes(axis) && !asked.has(axis));
      place(app().at[axis]);
    }
  };
}

/** A card a chosen loss: its name, its parameters, a button that takes it away. */
function fillChosen(app, changed, rebuild) {
  const cards = app.chosen.map((one, k) => {
    const loss = lossNamed(one.name);
    const remove = element("button", {
      type: "button",
      class: "remove",
      text: "×",
      "aria-label": `Take ${loss.title} away`,
    });
    remove.addEventListener("click", () => {
      app.chosen.splice(k, 1);
      rebuild();
      document.querySelector("#picker summary").focus();
    });
    const title = element("strong", { text: loss.title });
    const head = element(
      "div",
      { class: "card-head" },
      element("span", { class: "swatch", "aria-hidden": "true" }),
      title,
      remove,
    );
    const text = loss.formula ? `L = ${loss.formula}` : loss.own ? `from ${loss.name}` : "";
    const line = element("p", { class: "formula", title: text }, ...formula(text));
    const sliders = loss.parameters.map((parameter) => {
      const { name, steps, range } = parameter;
      const value = one.parameters[name] ?? parameter.default;
      const values = steps.includes(value) ? steps : [...steps, value].sort((a, b) => a - b);
      const moved = (number) => {
        one.parameters[name] = number;
        changed();
      };
      return slider({
        id: `parameter-${k}-${name}`,
        label: name.replaceAll("_", " "),
        values,
        value,
        show: (v) => rounded(v),
        moved,
        hint: `${name}: ${range}`,
      }).row;
    });
    return element("div", { class: "card", role: "group", "aria-label": loss.title }, head, line, ...sliders);
  });
  document.getElementById("chosen").replaceChildren(...cards);
}

/** The colours of the cards follow those of the figures. */
function colourCards(view) {
  const swatches = document.querySelectorAll("#chosen .swatch");
  view.losses.forEach((one, k) => {
    swatches[k].style.background = one.colour;
    swatches[k].dataset.mark = one.mark;
  });
}

/** The offered losses by category, each with a check box; more than four are not shown at once. */
function addPicker(app, rebuild) {
  const offered = document.getElementById("offered");
  const groups = new Map();
  for (const loss of LOSSES) {
    const group = loss.own ? "yours" : loss.category;
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(loss);
  }
  const boxes = [];
  for (const [group, losses] of groups) {
    const items = losses.map((loss) => {
      const box = element("input", { type: "checkbox", id: `loss-${LOSSES.indexOf(loss)}`, value: loss.name });
      box.addEventListener("change", () => {
        const { chosen } = app();
        if (box.checked) chosen.push({ name: loss.name, parameters: {} });
        else app().chosen = chosen.filter(({ name }) => name !== loss.name);
        rebuild();
      });
      const words = [loss.name, loss.title, loss.category, loss.formula, loss.reference].join(" ").toLowerCase();
      const item = element(
        "label",
        { class: "loss", title: [loss.formula, loss.reference].filter(Boolean).join(" · ") },
        box,
        element("span", { text: loss.title }),
      );
      boxes.push({ box, item, words });
      return item;
    });
    offered.append(element("fieldset", {}, element("legend", { text: group || "others" }), ...items));
  }
  const search = document.getElementById("search");
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { item, words } of boxes) item.hidden = !wanted.every((word) => words.includes(word));
    for (const group of offered.children)
      group.hidden = [...group.querySelectorAll(".loss")].every((item) => item.hidden);
    document.getElementById("none").hidden = boxes.some(({ item }) => !item.hidden);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault();
  });
  return () => {
    const names = app().chosen.map(({ name }) => name);
    const full = names.length >= DATA.mostChosen;
    document.getElementById("count").textContent = `(${names.length} of ${DATA.mostChosen})`;
    for (const { box } of boxes) {
      box.checked = names.includes(box.value);
      box.disabled = full && !box.checked;
    }
  };
}

/** Scenes: a whole state at a choice; theme and size of type stay. */
function addScenes(restore) {
  const select = document.getElementById("scene");
  const sentence = document.getElementById("scene-sentence");
  DATA.scenes.forEach(({ title }, k) => select.append(element("option", { value: k, text: title })));
  select.addEventListener("change", () => {
    const scene = DATA.scenes[select.value];
    sentence.hidden = !scene;
    sentence.textContent = scene?.sentence ?? "";
    if (scene) restore(scene.fragment);
  });
}

/** Selects of the reading and the theme, the switch for a lecture. */
function addChoices(app, changed, dressed) {
  const selects = Object.keys(CHOICES).map((key) => {
    const select = document.getElementById(key);
    select.addEventListener("change", () => {
      app()[key] = select.value;
      (key === "theme" ? dressed : changed)();
    });
    return [key, select];
  });
  const lecture = document.getElementById("lecture");
  lecture.addEventListener("click", () => {
    app().lecture = !app().lecture;
    dressed();
  });
  return () => {
    for (const [key, select] of selects) select.value = app()[key];
    lecture.setAttribute("aria-pressed", String(app().lecture));
  };
}

/** What is shown, and what is not, in words. */
function addHelp() {
  const dialog = document.getElementById("help-dialog");
  document.getElementById("help").addEventListener("click", () => dialog.showModal());
  const missing = Object.entries(DATA.notOffered).map(([name, reason]) => `${name}: ${reason}`);
  for (const place of document.querySelectorAll("[data-help]"))
    place.textContent = { size: SIZE, missing: missing.join("; ") }[place.dataset.help];
}
