document.addEventListener('allauth.error', event => {
  event.preventDefault()
  document.getElementById('key_problem').hidden = false
})
