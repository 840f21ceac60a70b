// Builds and updates the page from text nodes alone: what comes from outside never becomes markup.

export const byId = (id) => document.getElementById(id);

/** Make an element; children are elements or texts. */
export function el(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** Set a node's text, leaving an equal text alone so that a selection survives. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setState(node, state) {
  if (node.dataset.state !== state) node.dataset.state = state;
}

/** Show a value in a node's tooltip, or none. */
export function setTitle(node, title) {
  if (node.title !== title) node.title = title;
}

/**
 * Make a container's children follow a list. Each item keeps its element while its key lives, so
 * focus and selection stay where they are. `create` returns an element and an `update` function.
 */
export class KeyedList {
  constructor(container, keyOf, create) {
    this.container = container;
    this.keyOf = keyOf;
    this.create = create;
    this.parts = new Map();
  }

  update(items) {
    const gone = new Set(this.parts.keys());
    let before = this.container.firstElementChild;
    for (const item of items) {
      const key = this.keyOf(item);
      let part = this.parts.get(key);
      if (!part) {
        part = this.create(item);
        this.parts.set(key, part);
      }
      gone.delete(key);
      part.update(item);
      if (part.element === before) before = before.nextElementSibling;
      else this.container.insertBefore(part.element, before);
    }
    for (const key of gone) {
      this.parts.get(key).element.remove();
      this.parts.delete(key);
    }
  }
}

/** Return the address if it is safe to follow from here: only http and https are. */
export function safeLink(address) {
  if (typeof address !== "string" || !/^https?:\/\//i.test(address)) return null;
  try {
    const url = new URL(address);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}
