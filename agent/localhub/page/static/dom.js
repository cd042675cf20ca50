// Building elements. Data only ever becomes text or an attribute, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** An HTML element; strings among the children become text. */
export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element; strings among the children become text. */
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Sets the text only if it differs, so that a live region does not speak twice. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Runs `work` unless `button` is busy with it already; what goes wrong is said in `complaint`. */
export async function once(button, complaint, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  setText(complaint, "");
  button.setAttribute("aria-disabled", "true");
  try {
    await work();
  } catch (error) {
    setText(complaint, error.message);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** Puts the focus there, so that what is wrong can be mended, and throws it in words. */
export function wrong(input, words) {
  input.focus();
  throw new Error(words);
}

/** Makes `nodes` the children of `list`; what stays is not touched, so that scrolling and selection survive. */
export function arrange(list, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, i) => { if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null); });
}

/** A group of radio buttons that is rebuilt only when its options change, so that it keeps the focus. */
export class Choice {
  #built = "";

  constructor(fieldset, name, onChange) {
    this.fieldset = fieldset;
    this.name = name;
    this.onChange = onChange;
  }

  /** options: [{value, label, note, state}]. */
  show(options, selected) {
    const box = this.fieldset.querySelector(".options");
    const key = JSON.stringify(options.map((option) => option.value));
    if (key !== this.#built) {
      this.#built = key;
      const focused = box.contains(document.activeElement) ? document.activeElement.value : null;
      box.replaceChildren(...options.map((option) => this.#option(option)));
      if (focused !== null) this.#input(box, focused)?.focus();
    }
    options.forEach((option, index) => {
      const label = box.children[index];
      label.querySelector("input").checked = option.value === selected;
      label.dataset.state = option.state ?? "";
      setText(label.querySelector(".note"), option.note ?? "");
    });
  }

  #input(box, value) {
    return [...box.querySelectorAll("input")].find((input) => input.value === value);
  }

  #option({ value, label }) {
    const input = el("input", { type: "radio", name: this.name, value });
    input.addEventListener("change", () => this.onChange(value));
    return el("label", {}, input, el("span", {}, el("span", { class: "name" }, label), el("span", { class: "note" })));
  }
}
