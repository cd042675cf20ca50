// A new device.

import { createDevice } from "./api.js";
import { byId, once, setText, wrong } from "./dom.js";

export class Create {
  constructor(onCreated) {
    byId("create-form").addEventListener("submit", (event) => {
      event.preventDefault();
      setText(byId("create-said"), "");
      once(byId("create"), byId("create-error"), async () => {
        const wanted = byId("create-id").value.trim() || wrong(byId("create-id"), "What is its id to be?");
        const { id } = await createDevice(wanted);
        byId("create-id").value = "";
        setText(byId("create-said"), `${id} is created.`);
        onCreated(id);
      });
    });
  }
}
