# Writes OUTPUT, a header with the digest of the compiler's sources below ROOT:
# what tells a compiler from the one before it.
file(GLOB_RECURSE sources RELATIVE ${ROOT}
     ${ROOT}/lib/*.cpp ${ROOT}/lib/*.h ${ROOT}/include/pst/*.h
     ${ROOT}/include/pst/*.def ${ROOT}/include/pst/*.td)
list(SORT sources)
set(digests "")
foreach(source ${sources})
  file(SHA256 ${ROOT}/${source} digest)
  string(APPEND digests "${source} ${digest}\n")
endforeach()
string(SHA256 digest "${digests}")
file(WRITE ${OUTPUT} "#define PST_SOURCE_HASH \"${digest}\"\n")
