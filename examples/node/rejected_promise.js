console.log("before");
Promise.reject(new Error("no such luck"));
