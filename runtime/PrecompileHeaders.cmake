# pst_own_precompiled_headers(NAME HEADER...): NAME's files begin with these, which
# are parsed once; pst_precompile_headers(NAME FROM): NAME's with those of FROM.
# Both need the same flags. Without times in them, ccache keeps them.
function(pst_own_precompiled_headers name)
  target_precompile_headers(${name} PRIVATE ${ARGN})
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${name} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endfunction()

function(pst_precompile_headers name from)
  target_precompile_headers(${name} REUSE_FROM ${from})
  get_target_property(type ${name} TYPE)
  if(type STREQUAL EXECUTABLE) # else -fPIE
    target_compile_options(${name} PRIVATE -fPIC)
  endif()
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${name} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endfunction()
