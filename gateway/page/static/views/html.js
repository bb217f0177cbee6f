// JSX without a build step: tagged templates, bound to Preact.
import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);
