// The conversation in the chat box, as a fold.

let lastKey = 0;

/** A question and the answer to come. `abort` hangs up. */
export function begin(text, abort) {
  const question = { key: ++lastKey, role: "user", text, state: "done" };
  const answer = { key: ++lastKey, role: "assistant", text: "", state: "open", abort };
  return [question, answer];
}

/** The messages to send: answers that came to nothing are left out. */
export function forRequest(turns) {
  return turns.filter((turn) => turn.text).map(({ role, text }) => ({ role, content: text }));
}

export function change(turns, action) {
  switch (action.type) {
    case "ask":
      return [...turns, action.question, action.answer];
    case "clear":
      return [];
    default:
      return turns.map((turn) => (turn.key === action.key ? changeTurn(turn, action) : turn));
  }
}

function changeTurn(turn, action) {
  switch (action.type) {
    case "task":
      return { ...turn, task: action.task };
    case "piece":
      return addPiece(turn, action.piece);
    case "restarted":
      return { ...turn, text: "", finish: undefined, usage: undefined };
    case "lost":
      return { ...turn, lost: true };
    case "failed":
      return { ...turn, state: "failed", error: action.error };
    default:
      return { ...turn, state: action.type, lost: false };
  }
}

function addPiece(turn, piece) {
  return {
    ...turn,
    lost: false,
    text: turn.text + piece.text,
    finish: piece.finish ?? turn.finish,
    usage: piece.usage ?? turn.usage,
  };
}
